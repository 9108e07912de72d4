# Copyright (c) mmfft authors. All rights reserved.
"""All code of the README and of the pages on configs, checkpoints, commands.

It runs as it stands there, each snippet in a new folder.
"""

import ast
import json
import re
import shlex

import pytest
import torch
from conftest import ROOT
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from published_records import published_state_dict

from mmfft.demo import CONFIGS as DEMOS

README = (ROOT / 'README.md').read_text()
HOW_TO = ROOT / 'docs' / 'how_to'
TEXT = README + ''.join(
    (HOW_TO / f'{name}.md').read_text()
    for name in ('configs', 'checkpoints', 'commands')
)
CONFIGS = dict(
    re.findall(r'`(my_[\w-]+\.py)`.*?```python\n(.*?)```', TEXT, re.S)
)
SNIPPETS = re.findall(r'```python\n(.*?)```', TEXT, re.S)
OTHERS = [text for text in SNIPPETS if text not in CONFIGS.values()]
BASH = re.findall(r'```(?:bash|shell)\n(.*?)```', TEXT, re.S)
# What makes each of them one quick step on a few pictures of DigitScenes.
SMALL = dict(
    mmdet="""
train_cfg = dict(max_epochs=1)
model = dict(backbone=dict(img_size=128))
train_dataloader = dict(
    num_workers=0, persistent_workers=False, batch_size=2,
    dataset=dict(
        data_root={root!r}, ann_file='as_coco.json',
        data_prefix=dict(img='images/validation/'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='PackDetInputs')]))
""",
    mmpretrain="""
train_cfg = dict(max_epochs=1)
train_dataloader = dict(
    num_workers=0, persistent_workers=False, batch_size=10,
    dataset=dict(
        _delete_=True, type='CustomDataset', data_root={root!r},
        data_prefix='crops/val',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='PackInputs')]))
""",
    mmseg="""
train_cfg = dict(max_iters=1)
model = dict(
    data_preprocessor=dict(size=(192, 256)),
    decode_head=dict(norm_cfg=dict(type='BN')))
train_dataloader = dict(
    num_workers=0, persistent_workers=False, batch_size=2,
    dataset=dict(
        _delete_=True, type='BaseSegDataset', data_root={root!r},
        img_suffix='.png', metainfo=dict(classes=tuple('-0123456789')),
        data_prefix=dict(
            img_path='images/validation',
            seg_map_path='annotations/validation'),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs')]))
""",
)


def toolbox_of(text):
    return re.match(r"_base_ = '(\w+)::", text)[1]


def snippet(word):
    (text,) = (text for text in OTHERS if word in text)
    return text


def run_snippet(text):
    """Run it; returns its names and what each line that is no more gives."""
    names, values = {}, []
    for node in ast.parse(text).body:
        if isinstance(node, ast.Expr):
            code = compile(ast.Expression(node.value), 'README', 'eval')
            values.append(eval(code, names))
        else:
            exec(compile(ast.Module([node], []), 'README', 'exec'), names)
    return names, values


def test_there_is_one_for_each_toolbox():
    of_the_readme = [text for text in CONFIGS.values() if text in README]
    assert sorted(map(toolbox_of, of_the_readme)) == [
        'mmdet',
        'mmpretrain',
        'mmseg',
    ]


def write_as_coco(scenes):
    """Give the digits names of COCO's classes, which the config expects."""
    from mmdet.datasets import CocoDataset

    truth = scenes / 'annotations' / 'instances_validation.json'
    coco = json.loads(truth.read_text())
    for category, name in zip(
        coco['categories'], CocoDataset.METAINFO['classes']
    ):
        category['name'] = name
    (scenes / 'as_coco.json').write_text(json.dumps(coco))


@pytest.mark.slow
@pytest.mark.parametrize('name', CONFIGS)
def test_a_config_trains(name, tmp_path, digit_scenes, call_tool):
    text = CONFIGS[name]
    toolbox = toolbox_of(text)
    (tmp_path / name).write_text(text)
    root = digit_scenes
    if toolbox != 'mmpretrain':
        root = digit_scenes / 'scenes'
    if toolbox == 'mmdet':
        write_as_coco(root)
    (tmp_path / 'small.py').write_text(
        f'_base_ = {name!r}\n' + SMALL[toolbox].format(root=str(root))
    )
    call_tool('train.py', 'small.py', '--no-validate', cwd=tmp_path)
    assert (tmp_path / 'work_dirs' / 'small' / 'last_checkpoint').is_file()


def test_the_arch_table_is_true():
    from mmfft import backbones

    rows = re.findall(r'\| `mmfft\.(\w+)` \| ([\w, .-]+?) \|', TEXT)
    assert len(rows) == 5
    for name, archs in rows:
        zoo = getattr(backbones, name).arch_zoo
        named = [a for a in archs.split(', ') if a != '...']
        assert set(named) <= set(zoo)
        assert '...' in archs or set(named) == set(zoo)


def test_the_recipe_of_ours_that_is_named(tmp_path):
    (base,) = re.findall(r"`(_base_ = 'mmfft::.*?')`", TEXT)
    (tmp_path / 'x.py').write_text(base)
    cfg = Config.fromfile(tmp_path / 'x.py')
    assert cfg.model.backbone.type == 'mmfft.CDFFormer'


# ---------------------------------------------------------- other snippets


def test_no_other_snippet_is_left_out():
    words = ('init_cfg = ', 'features_only', 'pretrained_cfg_overlay')
    words += ('list_models', 'optim_wrapper = ', 'harden()')
    assert sorted(map(snippet, words)) == sorted(OTHERS)


def test_models_of_timm():
    names = {}
    exec(snippet('features_only'), names)
    assert names['scores'].shape == (1, 10)
    levels = [names[f'c{i}'].shape[1:] for i in range(2, 6)]
    assert levels == [
        (64, 56, 80),
        (128, 28, 40),
        (320, 14, 20),
        (512, 7, 10),
    ]


def test_a_published_file_in_init_cfg(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = published_state_dict('dfformer_s18')
    torch.save(weights, 'dfformer_s18.pth')
    names, _ = run_snippet(snippet('init_cfg = '))
    model = MODELS.build(
        dict(type='mmfft.DFFormer', arch='s18', init_cfg=names['init_cfg'])
    )
    model.init_weights()
    of_stem = model.downsample_layers[0].conv.weight
    assert any(torch.equal(of_stem, w) for w in weights.values())


def test_a_published_file_in_timm(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights = published_state_dict('gfnet-ti')
    torch.save(weights, 'gfnet-ti.pth')
    names, _ = run_snippet(snippet('pretrained_cfg_overlay'))
    model = names['model']
    assert model.num_classes == 10
    of_stem = model.backbone.patch_embed.proj.weight
    assert any(torch.equal(of_stem, w) for w in weights.values())


def test_names_of_mmpretrain(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, (listed, model) = run_snippet(snippet('list_models'))
    assert 'cdfformer-s18_3rdparty_in1k' in listed
    assert type(model.backbone).__name__ == 'CDFFormer'


@pytest.mark.parametrize('name', CONFIGS)
def test_layer_wise_decay_in_any_toolbox(name, tmp_path):
    (tmp_path / name).write_text(CONFIGS[name])
    cfg = Config.fromfile(tmp_path / name)
    init_default_scope(cfg.default_scope)
    names, _ = run_snippet(snippet('optim_wrapper = '))
    wrapper = names['optim_wrapper']
    optimizer = build_optim_wrapper(MODELS.build(cfg.model), wrapper)
    rates = {group['lr'] for group in optimizer.param_groups}
    # A rate a depth.
    assert len(rates) > 10
    assert max(rates) == pytest.approx(wrapper['optimizer']['lr'])


# ---------------------------------------------------------------- commands


def commands():
    for block in BASH:
        for line in re.sub(r'(?: \\)?\n +', ' ', block).splitlines():
            for command in line.partition(' #')[0].split('&&'):
                yield command.strip()


PYTHON = [c for c in commands() if c.startswith('python ')]
# Flags of its own are named by the README; the rest are placeholders.
FLAGS = {
    tool: re.findall(r'--[a-z][a-z-]*', command)
    for command in PYTHON
    for tool in re.findall(r'^python tools/(\S+)', command)
}


def test_the_tools_of_the_commands_are_looked_at():
    assert {'train.py', 'test.py', 'misc/check_dataset.py'} <= set(FLAGS)
    assert len(FLAGS) >= 8


@pytest.mark.parametrize('tool', FLAGS)
def test_a_tool_has_the_flags_of_its_command(
    tool, call_tool, tmp_path, capsys
):
    with pytest.raises(SystemExit) as e:
        call_tool(tool, '--help', cwd=tmp_path)
    assert e.value.code == 0
    known = re.findall(r'--[a-z][a-z-]*', capsys.readouterr().out)
    assert set(FLAGS[tool]) <= set(known)


def test_other_commands():
    makefile = ROOT.joinpath('Makefile').read_text()
    for command in commands():
        words = shlex.split(command)
        if 'make' in words:
            rest = words[words.index('make') + 1 :]
            for target in [word for word in rest if '=' not in word]:
                assert f'\n{target}:' in makefile, command
        for path in re.findall(
            r'(?<!\S)((?:tools|demo|scripts)/\S+)', command
        ):
            assert (ROOT / path).is_file(), command
        for extra in re.findall(r'\[([\w,]+)\]"', command):
            for name in extra.split(','):
                assert (ROOT / 'requirements' / f'{name}.txt').is_file()


def test_demo_configs_parse():
    files = sorted((ROOT / 'configs' / 'demo').glob('*.py'))
    assert {name for parts in DEMOS.values() for name in parts.values()} <= {
        file.name for file in files
    }
    for file in files:
        cfg = Config.fromfile(file)
        batch = int(re.search(r'_1xb(\d+)-', file.name)[1])
        assert cfg.train_dataloader.batch_size == batch
        assert cfg.auto_scale_lr == dict(base_batch_size=batch, enable=False)
