# Copyright (c) mmfft authors. All rights reserved.
"""Sizes of signals and gradients in a backbone at the start of a training.

They show, before any training, which residual branches contribute something,
which of them get a gradient, and how much of what reaches the head depends on
the image.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

from ..engine import image_channels
from ..errors import ConfigError
from ..layers import DynamicFilter, distance_from_uniform
from ..models import FourierBackbone
from ..models.gfnet import GFNetBlock
from ..models.metaformer import MetaFormerBlock
from .feature_models import (
    load_feature_model,
    preprocessor_of,
    read_images,
)
from .records import Records, markdown_table, mean_and_spread

_KEYS = ('model', 'init', 'seed', 'block')
# What is measured in each block, and its title.
MEASURES = {
    'input': 'input',
    'mixer_ratio': 'mixer / input',
    'mlp_ratio': 'MLP / input',
    'mixer_gradient': 'mixer: gradient / weight',
    'mlp_gradient': 'MLP: gradient / weight',
    'basis_gradient': 'basis: gradient / weight',
    'routing_gradient': 'routing: gradient / weight',
    'routing': 'routing, uniform 0 to one-hot 1',
    'share': 'share that differs between images',
}
_PANELS = (
    'mixer_ratio',
    'mlp_ratio',
    'share',
    'mixer_gradient',
    'mlp_gradient',
    'routing',
)
_CLASSES = 10


def differing_share(pooled: Tensor) -> float:
    """Measure how much of some features differs between images.

    Args:
        pooled (Tensor): Features of shape ``(N, C)``, one row per image.

    Returns:
        float: Variance over the images relative to the second moment, both
        summed over the channels: 0 if all images have the same features, 1 if
        these have mean 0.
    """
    variance = pooled.var(dim=0, correction=0).sum()
    return float(variance / pooled.square().mean(dim=0).sum())


def measure_start(
    backbone: FourierBackbone, images: Tensor, batch: int = 8
) -> list[dict]:
    """Measure the sizes of signals and gradients in each block.

    The gradients are those of a loss that needs no labelled data: the cross
    entropy between random labels, ten classes, and a random linear classifier
    of the pooled features of the last level. As in the family's classifiers,
    a LayerNorm precedes it, so that the loss has the same scale however large
    the features are; its weights have deviation ``1 / sqrt(channels)``. Labels
    and classifier are the same in each call.

    Args:
        backbone (FourierBackbone): Backbone in evaluation mode, so without
            stochastic depth. Its gradients are replaced, and what is frozen
            gets some as well.
        images (Tensor): Images of shape ``(N, C, H, W)``.
        batch (int): Number of images at a time. Defaults to 8.

    Returns:
        list[dict]: For each block its name, ``block``, and

        - ``input``: root mean square (RMS) of the block's input;
        - ``mixer_ratio`` and ``mlp_ratio``: RMS of what the branch adds,
          relative to what it is added to. GFNet's blocks have one branch,
          which ends with the MLP, and their ``mixer_ratio`` is None;
        - ``mixer_gradient`` and ``mlp_gradient``: norm of the gradient of the
          weights relative to the norm of the weights, which are the
          parameters of more than one axis; None if they are all zero;
        - ``basis_gradient`` and ``routing_gradient``: the same for these
          parts of a dynamic filter, None for other mixers;
        - ``routing``: :func:`mmfft.layers.distance_from_uniform`, None for
          other mixers and for a single filter;
        - ``share``: :func:`differing_share` of the block's pooled output.
    """
    # Recomputed blocks would be seen twice.
    backbone.with_cp = False
    backbone.requires_grad_(True).zero_grad()
    generator = torch.Generator().manual_seed(0)
    channels = backbone.dims[backbone.out_indices[-1]]
    weight = torch.randn(_CLASSES, channels, generator=generator)
    weight /= math.sqrt(channels)
    labels = torch.randint(_CLASSES, (len(images),), generator=generator)
    blocks = {
        name: module
        for name, module in backbone.named_modules()
        if isinstance(module, (MetaFormerBlock, GFNetBlock))
    }
    with _watch(blocks.values()) as seen:
        for x, y in zip(images.split(batch), labels.split(batch)):
            (features,) = backbone.forward_levels(x, backbone.out_indices[-1:])
            pooled = F.layer_norm(features.mean(dim=(1, 2)), (channels,))
            loss = F.cross_entropy(pooled @ weight.T, y, reduction='sum')
            (loss / len(images)).backward()
    return [
        dict(block=name, **_measures(block, record, len(images)))
        for (name, block), record in zip(blocks.items(), seen)
    ]


class _Record:
    """What one block did with the images so far."""

    def __init__(self):
        # Mean squares, summed over the images.
        self.squares: dict[str, float] = defaultdict(float)
        self.pooled: list[Tensor] = []
        self.routing: list[Tensor] = []

    def add(self, name: str, x: Tensor) -> None:
        self.squares[name] += float(x.detach().square().mean()) * len(x)

    def ratio(self, branch: str, base: str) -> float | None:
        if branch not in self.squares:
            return None
        return math.sqrt(self.squares[branch] / self.squares[base])


@contextmanager
def _watch(blocks: Sequence[nn.Module]) -> Iterator[list[_Record]]:
    """Record what blocks do, in their order."""
    records, hooks = [], []
    for block in blocks:
        record = _Record()
        records.append(record)
        hooks += [
            block.register_forward_pre_hook(partial(_note_input, record)),
            block.register_forward_hook(partial(_note_output, record)),
        ]
        if isinstance(block, GFNetBlock):
            # With gamma, which the MLP itself lacks.
            hooks.append(
                block.drop_path.register_forward_pre_hook(
                    partial(_note_branch, record)
                )
            )
            continue
        hooks.append(
            block.token_mixer.register_forward_pre_hook(
                partial(_note_routing, record)
            )
        )
        for name, residual in [
            ('mixer', block.res_scale1),
            ('mlp', block.res_scale2),
        ]:
            hooks.append(
                residual.register_forward_pre_hook(
                    partial(_note_residual, record, name)
                )
            )
    try:
        yield records
    finally:
        for hook in hooks:
            hook.remove()


def _note_input(record, block, args):
    record.add('input', args[0])


def _note_output(record, block, args, output):
    record.pooled.append(output.detach().mean(dim=(1, 2)))


def _note_branch(record, drop_path, args):
    record.add('mlp', args[0])


def _note_routing(record, mixer, args):
    if isinstance(mixer, DynamicFilter):
        with torch.no_grad():
            record.routing.append(mixer.routing(args[0]))


def _note_residual(record, name, residual, args):
    x, branch = args
    if residual.scale is not None:
        x = x * residual.scale
    record.add(f'{name}_base', x)
    record.add(name, branch)


def _measures(block: nn.Module, record: _Record, count: int) -> dict:
    one_branch = isinstance(block, GFNetBlock)
    mixer = block.token_mixer
    dynamic = isinstance(mixer, DynamicFilter)
    return dict(
        input=math.sqrt(record.squares['input'] / count),
        mixer_ratio=record.ratio('mixer', 'mixer_base'),
        mlp_ratio=record.ratio('mlp', 'input' if one_branch else 'mlp_base'),
        mixer_gradient=_gradient(mixer),
        mlp_gradient=_gradient(block.mlp),
        basis_gradient=_gradient(mixer.basis) if dynamic else None,
        routing_gradient=_gradient(mixer.reweight) if dynamic else None,
        routing=(
            float(distance_from_uniform(torch.cat(record.routing)))
            if dynamic and mixer.num_filters > 1
            else None
        ),
        share=differing_share(torch.cat(record.pooled)),
    )


def _gradient(module: nn.Module) -> float | None:
    """Norm of the gradient of a module's weights, relative to theirs.

    Biases and the scalars of activations are left out: beside small weights
    they would decide both norms. None if all weights are zero.
    """
    weights = [p for p in module.parameters() if p.dim() > 1]
    gradient = math.hypot(*(float(p.grad.norm()) for p in weights))
    norm = math.hypot(*(float(p.detach().norm()) for p in weights))
    return gradient / norm if norm else None


def run_starts(
    models: Sequence[str],
    out: str | Path,
    inits: Sequence[str | None] = (None,),
    seeds: Sequence[int] = (0, 1, 2),
    size: int = 224,
    count: int = 32,
    folder: str | None = None,
) -> list[dict]:
    """Measure models as they are before their training.

    What is measured is written to ``signal_at_init.csv``, anew in each call.

    Args:
        models (Sequence[str]): Models as for :func:`.load_feature_model`, with
            backbones of mmfft.
        out (str | Path): Folder of ``signal_at_init.csv``.
        inits (Sequence[str | None]): Values of the backbones' argument
            ``init``, each of which is measured; None for that of the config.
            Defaults to only this.
        seeds (Sequence[int]): Seeds of the weights. Defaults to 0, 1 and 2.
        size (int): Side of the images, in pixels. Defaults to 224.
        count (int): Number of images. Defaults to 32.
        folder (str, optional): Folder of images, normalized as by the
            config's ``data_preprocessor``, or else as for ImageNet. Defaults
            to none, for Gaussian noise. All seeds see the same images.

    Returns:
        list[dict]: One row for each model, init, seed and block, with these
        four and the values of :data:`MEASURES`.

    Raises:
        ConfigError: If a model does not exist or is not one of mmfft, or the
            folder contains no image.
    """
    rows = []
    for spec in models:
        for init in inits:
            options = {} if init is None else dict(init=init)
            for seed in seeds:
                torch.manual_seed(seed)
                model = load_feature_model(spec, size, **options)
                # timm's form of our models contains the backbone.
                backbone = getattr(model, 'backbone', model)
                if not isinstance(backbone, FourierBackbone):
                    raise ConfigError(
                        f'{spec!r} is {type(model).__name__}: only blocks of '
                        "mmfft's backbones are measured"
                    )
                images = _images(spec, backbone, size, count, folder)
                case = dict(model=spec, init=init or '', seed=seed)
                rows += [
                    dict(case, **row)
                    for row in measure_start(backbone, images)
                ]
    path = Path(out) / 'signal_at_init.csv'
    path.unlink(missing_ok=True)
    records = Records(path, _KEYS, tuple(MEASURES))
    for row in rows:
        records.add(row)
    return records.rows


def _images(
    spec: str, model: nn.Module, size: int, count: int, folder: str | None
) -> Tensor:
    channels = image_channels(model)
    if folder is not None:
        return read_images(
            folder, size, count, channels, preprocessor_of(spec)
        )
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, channels, size, size, generator=generator)


def _by_start(rows: Sequence[dict]) -> dict[tuple[str, str], dict]:
    """Rows of each block, by model and init and then by block."""
    starts: dict = defaultdict(lambda: defaultdict(list))
    for row in rows:
        starts[row['model'], row['init']][row['block']].append(row)
    return starts


def _known(rows: Sequence[dict], measure: str) -> list[float]:
    return [row[measure] for row in rows if row[measure] is not None]


def starts_table(rows: Sequence[dict]) -> str:
    """Format the rows of :func:`run_starts` as a table in Markdown.

    Args:
        rows (Sequence[dict]): Rows from :func:`run_starts`.

    Returns:
        str: Table with one line per block, means and sample standard
        deviations over the seeds.
    """
    lines = []
    for (model, init), blocks in _by_start(rows).items():
        for block, of_block in blocks.items():
            cells = [_cell(_known(of_block, name)) for name in MEASURES]
            lines.append([_name(model), init, block, *cells])
    return markdown_table(
        ['model', 'init', 'block', *MEASURES.values()], lines, left=3
    )


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ''
    mean, spread = mean_and_spread(values)
    return f'{mean:.2g}' + ('' if spread is None else f' ± {spread:.1g}')


def _name(spec: str) -> str:
    return Path(spec).stem


def plot_starts(rows: Sequence[dict], path: str | Path) -> None:
    """Plot measures against the block, with one line per model and init.

    Lines are means over the seeds, in bands from the smallest to the largest
    value. Scales are logarithmic, so 0 is not drawn, except for the share.

    Args:
        rows (Sequence[dict]): Rows from :func:`run_starts`.
        path (str | Path): Path of the PNG to write.
    """
    starts = _by_start(rows)
    figure = Figure(figsize=(13, 7))
    axes = figure.subplots(2, len(_PANELS) // 2).flat
    for measure, axis in zip(_PANELS, axes):
        is_log = measure != 'share'
        for i, ((model, init), blocks) in enumerate(starts.items()):
            known = [_known(of_block, measure) for of_block in blocks.values()]
            drawn = [
                (x, mean_and_spread(values)[0], min(values), max(values))
                for x, values in enumerate(known, 1)
                if values and not (is_log and max(values) == 0)
            ]
            if not drawn:
                continue
            x, mean, least, most = zip(*drawn)
            name = f'{_name(model)} {init}'.strip()
            marker = 'osv^D*'[i % 6]
            axis.plot(x, mean, f'C{i}', marker=marker, ms=4, label=name)
            axis.fill_between(x, least, most, color=f'C{i}', alpha=0.2, lw=0)
        if not is_log:
            axis.set_ylim(bottom=0)
        elif axis.lines:
            axis.set_yscale('log')
        axis.set_title(MEASURES[measure], fontsize=9)
        axis.set_xlabel('block')
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
    handles, labels = axes[_PANELS.index('share')].get_legend_handles_labels()
    figure.legend(handles, labels, loc='outside lower center', fontsize=8)
    figure.set_layout_engine('constrained')
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
