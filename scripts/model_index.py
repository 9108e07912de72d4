#!/usr/bin/env python3
# Copyright (c) mmfft authors. All rights reserved.
"""Write the model index: metafiles, and the tables of the families' READMEs.

Below `Models:` in the metafile.yml of a family, and between the markers in its
README.md, stands what its configs say; the rest is written by hand. FLOPs that
a metafile has are kept, since counting them all takes minutes and the tests
hold them to closed forms: they are counted for a new config and where the
number of parameters has changed, with --recount for all. With --check, only
say whether the files are up to date.
"""

import argparse
import functools
import logging
import re
import sys
import warnings
from pathlib import Path

import torch
import yaml
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmfft.analysis.flops import config_flops
from mmfft.analysis.records import markdown_table
from mmfft.checkpoints.zoo import published_names, url_of
from mmfft.models import CDFFormer, DFFormer, GFNetPyramid

ROOT = Path(__file__).resolve().parents[1]

# Top 1 and top 5 of the published weights, as the README of
# https://github.com/raoyongming/GFNet has them; not reproduced here.
ACCURACIES = {
    'gfnet-ti': (74.6, 92.2),
    'gfnet-xs': (78.6, 94.2),
    'gfnet-s': (80.0, 94.9),
    'gfnet-b': (80.7, 95.1),
    'gfnet-h-ti': (80.1, 95.1),
    'gfnet-h-s': (81.5, 95.6),
    'gfnet-h-b': (82.9, 96.2),
}
DATASETS = {
    'ImageNet': 'ImageNet-1k',
    'CIFAR10': 'CIFAR-10',
    'CIFAR100': 'CIFAR-100',
    'Flowers102': 'Oxford Flowers-102',
    'StanfordCars': 'Stanford Cars',
    'CocoDataset': 'COCO',
    'ADE20KDataset': 'ADE20K',
}
TASKS = {
    'mmpretrain': 'Image Classification',
    'mmdet': 'Object Detection',
    'mmseg': 'Semantic Segmentation',
}
COMPARISONS = {
    'gfformer-s18_8xb128_in1k': 'GFFormer-S18: static filters',
    'dfformer-s18-k2_8xb128_in1k': 'two basis filters',
    'dfformer-s18-d8_8xb128_in1k': 'a routing MLP half as wide',
    'dfformer-s18-gelu_8xb128_in1k': 'GELU',
    'dfformer-s18-relu_8xb128_in1k': 'ReLU',
    'dfformer-s18-afno_8xb128_in1k': 'AFNO for dynamic filters',
}
# Of mmfft's own.
SMALL = {
    family: {arch: cls.arch_zoo[arch] for arch in cls.small_archs}
    for family, cls in [
        ('cdfformer', CDFFormer),
        ('dfformer', DFFormer),
        ('gfnet', GFNetPyramid),
    ]
}
# Column of the parameters, and columns of configs that have that many.
DENSE = {
    'retinanet': (
        'RetinaNet 1x, params (M)',
        {'config': 'retinanet_{}_fpn_1x_coco'},
    ),
    'mask-rcnn': (
        'Mask R-CNN, params (M)',
        {
            '1x': 'mask-rcnn_{}_fpn_1x_coco',
            '3x, crops, layer decay': ('mask-rcnn_{}_fpn_amp-ms-crop-3x_coco'),
        },
    ),
    'semantic-fpn': (
        'Semantic FPN 40k, params (M)',
        {'config': '{}_fpn_8xb4-40k_ade20k-512x512'},
    ),
    'upernet': (
        'UPerNet 160k, params (M)',
        {'config': '{}_upernet_8xb2-160k_ade20k-512x512'},
    ),
}


class Dumper(yaml.SafeDumper):
    """Items of a list are indented, as in the toolboxes' metafiles."""

    def increase_indent(self, flow=False, indentless=False):
        return super().increase_indent(flow, False)


load = functools.cache(Config.fromfile)


@functools.cache
def count_parameters(config):
    cfg = load(config)
    with (
        DefaultScope.overwrite_default_scope(cfg.default_scope),
        torch.device('meta'),
    ):
        model = MODELS.build(cfg.model)
    return sum(p.numel() for p in model.parameters())


def tasks(config):
    cfg = load(config)
    names = [TASKS[cfg.default_scope]]
    if 'mask_head' in cfg.model.get('roi_head', {}):
        names.append('Instance Segmentation')
    return names


def entry(name, collection, config, flops, weights=None, metrics=None):
    """What the metafile says of a model; its weights were published if any."""
    metadata = dict(FLOPs=flops) if flops else {}
    metadata['Parameters'] = count_parameters(config)
    model = {
        'Name': name,
        'In Collection': collection['Name'],
        'Metadata': metadata,
        'Results': [
            {
                'Task': task,
                'Dataset': DATASETS[load(config).test_dataloader.dataset.type],
                'Metrics': metrics or {},
            }
            for task in tasks(config)
        ],
    }
    if weights:
        model['Weights'] = f'mmfft://{weights}'
    model['Config'] = config.relative_to(ROOT).as_posix()
    if weights:
        url = url_of(weights)
        model['Converted From'] = dict(Weights=url) if url else {}
        model['Converted From']['Code'] = collection['Code']
    return model


def backbones(family):
    names = [name.removesuffix('_in1k') for name in published_names()]
    return [name for name in names if name.split('-')[0] == family]


def entries(folder, before, recount):
    """Published models in the order of their sizes, then the configs."""
    (collection,) = before['Collections']
    known = {} if recount else before.get('Models') or []
    figures = {model['Name']: model['Metadata'] for model in known}
    flops = {}
    order = list(TASKS.values())
    configs = sorted(
        folder.glob('*.py'),
        key=lambda config: (order.index(tasks(config)[0]), config.name),
    )
    own = []
    for config in configs:
        name = config.stem
        if tasks(config) == [TASKS['mmpretrain']]:
            old = figures.get(name, {})
            flops[name] = (
                old['FLOPs']
                if old.get('Parameters') == count_parameters(config)
                else config_flops(load(config))[1].flops
            )
        own.append(entry(name, collection, config, flops.get(name)))
    published = []
    for name in backbones(folder.name):
        metrics = dict(
            zip(('Top 1 Accuracy', 'Top 5 Accuracy'), ACCURACIES.get(name, ()))
        )
        config = folder / f'{name}_8xb128_in1k.py'
        published.append(
            entry(
                f'{name}_3rdparty_in1k', collection, config,
                flops[config.stem], f'{name}_in1k', metrics,
            )
        )  # fmt: skip
    return published + own


def label(backbone, collection):
    """dfformer-s18 is DFFormer-S18, gfnet-h-ti is GFNet-H-Ti."""
    sizes = backbone.split('-')[1:]
    return '-'.join(
        [collection, *('XS' if s == 'xs' else s.capitalize() for s in sizes)]
    )


def tables(family, collection, models):
    """Rows of each table, as dicts; a cell is empty where nothing is."""
    figures = {model['Name']: model['Metadata'] for model in models}

    def link(config):
        return f'[config](./{config}.py)' if config in figures else ''

    def figure(config, key, unit):
        value = figures.get(config, {}).get(key)
        return f'{value / unit:.2f}' if value else ''

    def costs(config):
        return {
            'params (M)': figure(config, 'Parameters', 1e6),
            'FLOPs (G)': figure(config, 'FLOPs', 1e9),
        }

    names = {name: label(name, collection) for name in backbones(family)}
    made = {
        'imagenet': [
            {
                'model': shown,
                **costs(f'{name}_8xb128_in1k'),
                'top-1': str(ACCURACIES.get(name, [''])[0]),
                'top-5': str(ACCURACIES.get(name, [''])[-1]),
                '8 GPUs': link(f'{name}_8xb128_in1k'),
                'one GPU': link(f'{name}_1xb128-accum8_in1k'),
                '384 px': link(f'{name}_8xb128_in1k-384px')
                or link(f'{name}_8xb64_in1k-384px'),
                'published weights': f'`mmfft://{name}_in1k`',
            }
            for name, shown in names.items()
        ],
        'small': [
            {
                'model': label(f'{family}-{arch}', collection),
                'widths': ', '.join(map(str, sizes['embed_dims'])),
                'blocks': ', '.join(map(str, sizes['depths'])),
                **costs(f'{family}-{arch}_8xb128_in1k'),
                '8 GPUs': link(f'{family}-{arch}_8xb128_in1k'),
            }
            for arch, sizes in SMALL[family].items()
        ],
        'comparisons': [
            {'comparison': shown, **costs(config), 'config': link(config)}
            for config, shown in COMPARISONS.items()
        ],
        'transfer': [
            {
                'model': shown,
                'CIFAR-10': link(f'{name}_8xb64_cifar10'),
                'CIFAR-100': link(f'{name}_8xb64_cifar100'),
                'Flowers-102': link(f'{name}_8xb64_flowers102'),
                'Stanford Cars': link(f'{name}_8xb64_cars'),
            }
            for name, shown in names.items()
        ],
    }
    for table, (title, columns) in DENSE.items():
        first = next(iter(columns.values()))
        made[table] = [
            {
                'backbone': shown,
                title: figure(first.format(name), 'Parameters', 1e6),
                **{
                    column: link(config.format(name))
                    for column, config in columns.items()
                },
            }
            for name, shown in names.items()
        ]
    return made


def markdown(rows):
    """A table, without rows that have no config and without empty columns."""
    rows = [row for row in rows if '[config]' in ' '.join(row.values())]
    columns = [name for name in rows[0] if any(row[name] for row in rows)]
    cells = [[row[name] for name in columns] for row in rows]
    return markdown_table(columns, cells, left=len(columns))


def generated(folder, recount=False):
    """The files of a family, with the texts that they should have."""
    metafile, readme = folder / 'metafile.yml', folder / 'README.md'
    text = metafile.read_text()
    before = yaml.safe_load(text)
    models = entries(folder, before, recount)
    made = tables(folder.name, before['Collections'][0]['Name'], models)
    below = yaml.dump(
        {'Models': models}, Dumper=Dumper, sort_keys=False, width=float('inf')
    )
    return {
        metafile: re.sub(r'(?m)^Models:\n(.|\n)*', '', text) + below,
        readme: re.sub(
            r'(<!-- table (\S+) -->\n).*?(?=<!-- end of table -->)',
            lambda match: match[1] + markdown(made[match[2]]),
            readme.read_text(),
            flags=re.DOTALL,
        ),
    }


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true')
    parser.add_argument('--recount', action='store_true')
    args = parser.parse_args(args)
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    old = []
    for metafile in index['Import']:
        files = generated((ROOT / metafile).parent, args.recount)
        for file, text in files.items():
            if file.read_text() != text:
                old.append(file.relative_to(ROOT).as_posix())
                if not args.check:
                    file.write_text(text)
    if args.check and old:
        sys.exit(f'old, `make format` writes them: {", ".join(old)}')


if __name__ == '__main__':
    logging.disable(logging.WARNING)  # mmengine tells what it builds
    warnings.filterwarnings('ignore', module='mmseg')
    main()
