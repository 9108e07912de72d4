# Copyright (c) mmfft authors. All rights reserved.
"""How much features and predictions change when an image is padded.

In a batch of mixed sizes, images are padded on the right and below. A
convolution sees the padding a few pixels deep, a global filter everywhere.
"""

import statistics
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.fileio import dump
from mmengine.registry import MODELS
from torch import Tensor, nn

from ..engine import build_model, image_channels
from ..errors import ConfigError, require_whole_number
from ..models import FourierBackbone
from ..openmmlab.scopes import choose_by_scope, class_name
from .feature_models import all_features, backbone_of, load_feature_model
from .padded_predictions import (
    Padding,
    Size,
    changed_labels,
    normalized,
    object_changes,
    predict,
    read_samples,
)
from .records import markdown_table

# Arguments with which models of timm take images of any size.
_ANY_SIZE = (dict(strict_img_size=False), dict(dynamic_img_size=True), {})
# Sides on which the strides of a network are read off: multiples of all.
_PROBE = 128
# Below it a curve is drawn as if it were this large.
_FLOOR = 1e-7
VALID_SIZES = 'valid_sizes'

Forward = Callable[[Tensor], Sequence[Tensor]]


def relative_change(alone: Tensor, padded: Tensor) -> float:
    """L2 norm of the change of features, relative to the features alone.

    Args:
        alone (Tensor): Features ``(1, C, h, w)`` of the image.
        padded (Tensor): Features ``(1, C, H, W)`` of the padded image, of
            which the upper left part counts.

    Returns:
        float: Ratio of the norms.
    """
    part = padded[..., : alone.shape[2], : alone.shape[3]]
    change = (part - alone).norm()
    return float(change / alone.norm()) if change else 0.0


def change_by_distance(
    alone: Tensor, padded: Tensor, stride: int, size: Size, to: Size
) -> dict[float, list[float]]:
    """Change of each position against its distance from the padding.

    Args:
        alone (Tensor): Features ``(1, C, h, w)`` of the image.
        padded (Tensor): Features ``(1, C, H, W)`` of the padded image.
        stride (int): Pixels of the image per position.
        size (tuple[int, int]): ``(H, W)`` of the image in pixels.
        to (tuple[int, int]): The same of the padded image.

    Returns:
        dict[float, list[float]]: By the distance of the centre of the
        position from the nearest padded side in pixels, rounded to halves of
        the stride, the norms of the changes, relative to the root mean square
        of the norms of all positions alone.
    """
    rows, columns = alone.shape[2:]
    change = (padded[0, :, :rows, :columns] - alone[0]).norm(dim=0)
    scale = alone[0].norm(dim=0).square().mean().sqrt()
    far = torch.full((), torch.inf, device=alone.device)
    away = []
    for count, side, padded_side in zip((rows, columns), size, to):
        # A position at the end may have its centre in the padding.
        index = torch.arange(count, device=alone.device)
        steps = ((side - index * stride) / stride - 0.5).clamp(min=0).floor()
        away.append(steps if padded_side > side else far.expand(count))
    steps = torch.minimum(away[0][:, None], away[1])
    found: dict[float, list[float]] = {}
    values = torch.where(change > 0, change / scale, 0)
    for step, value in zip(steps.flatten().tolist(), values.flatten()):
        found.setdefault((step + 0.5) * stride, []).append(float(value))
    return found


@torch.no_grad()
def measure_features(
    forward: Forward,
    padded_forward: Callable[[Tensor, Size], Sequence[Tensor]],
    images: Sequence[Tensor],
    padding: Padding,
    value: float = 0.0,
) -> dict | None:
    """Compare features of images alone with those of the padded images.

    Args:
        forward (Callable): Network, of ``(1, C, H, W)`` to maps of features.
        padded_forward (Callable): The same for a padded image, which is also
            given the ``(H, W)`` of the image in it.
        images (Sequence[Tensor]): Normalized images ``(1, C, H, W)``.
        padding (Padding): Padding of the images.
        value (float): Value of the padding. Defaults to 0.

    Returns:
        dict | None: ``images``, their number; ``change``, by stride the
        median of the relative changes in the images; and ``by_distance``, by
        stride the pairs of a distance in pixels and the median of the changes
        at it. None if no image is padded.
    """
    probe = images[0].new_zeros(1, images[0].shape[1], _PROBE, _PROBE)
    strides = [round(_PROBE / out.shape[2]) for out in forward(probe)]
    total: dict[int, list[float]] = {}
    nearby: dict[int, dict[float, list[float]]] = {}
    count = 0
    for x in images:
        size = tuple(x.shape[2:])
        to = padding.apply(size)
        if to == size:
            continue
        count += 1
        pad = (0, to[1] - size[1], 0, to[0] - size[0])
        alone = forward(x)
        padded = padded_forward(F.pad(x, pad, value=value), size)
        # Of several blocks with one stride, the last counts.
        last = {s: pair for s, *pair in zip(strides, alone, padded)}
        for stride, (one, other) in last.items():
            total.setdefault(stride, []).append(relative_change(one, other))
            found = change_by_distance(one, other, stride, size, to)
            for distance, values in found.items():
                nearby.setdefault(stride, {}).setdefault(distance, [])
                nearby[stride][distance] += values
    if not count:
        return None
    return dict(
        images=count,
        change={s: statistics.median(v) for s, v in total.items()},
        by_distance={
            stride: [
                (distance, statistics.median(values[distance]))
                for distance in sorted(values)
            ]
            for stride, values in nearby.items()
        },
    )


class Network(NamedTuple):
    """A network whose features are compared.

    Args:
        name (str): Name in tables.
        weights (str): Where its weights are from.
        model (nn.Module): Model from
            :func:`mmfft.analysis.feature_models.load_feature_model`.
        with_sizes (bool): Whether the backbone is told the size of the image
            in the padded one. Defaults to False.
    """

    name: str
    weights: str
    model: nn.Module
    with_sizes: bool = False

    def forward(self, x: Tensor) -> Sequence[Tensor]:
        """Features of an image."""
        if self.with_sizes:
            return self.model(x)
        return all_features(self.model, x)

    def padded_forward(self, x: Tensor, size: Size) -> Sequence[Tensor]:
        """Features of a padded image."""
        if self.with_sizes:
            return self.model(x, valid_sizes=[size])
        return all_features(self.model, x)

    def measure(
        self, images: Sequence[Tensor], padding: Padding, value: float = 0.0
    ) -> dict | None:
        """Call :func:`measure_features`.

        Returns:
            dict | None: Its result with ``network``, ``weights`` and
            ``padding``. A network that refuses the images has ``refused``,
            its words, instead of figures.
        """
        row = dict(
            network=self.name, weights=self.weights, padding=str(padding)
        )
        channels = image_channels(self.model)
        if channels != images[0].shape[1]:
            raise ConfigError(
                f'{self.name} takes images of {channels} channels, and those '
                f'of the config have {images[0].shape[1]}'
            )
        try:
            found = measure_features(
                self.forward, self.padded_forward, images, padding, value
            )
        except torch.cuda.OutOfMemoryError:
            raise
        # Each network checks sizes in its own way, or not at all.
        except (AssertionError, RuntimeError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            return dict(row, refused=' '.join(str(error).split())[:200])
        return found and dict(row, **found)


def _networks(
    cfg: Config,
    checkpoint: str | None,
    peers: Sequence[str],
    pretrained: bool,
    seed: int,
):
    torch.manual_seed(seed)
    model = backbone_of(deepcopy(cfg), checkpoint)
    name = Path(cfg.filename).stem
    weights = _weights(checkpoint)
    yield Network(name, weights, model)
    if isinstance(model, FourierBackbone):
        name = f'{name}, {VALID_SIZES}'
        yield Network(name, weights, model, with_sizes=True)
    for spec in peers:
        torch.manual_seed(seed)
        name, _, file = spec.partition('=')
        by_timm = pretrained and not file and not name.endswith('.py')
        model = load_peer(spec, by_timm)
        name = Path(name).stem if name.endswith('.py') else name
        yield Network(
            name, "timm's pretrained" if by_timm else _weights(file), model
        )


def _weights(checkpoint: str | None) -> str:
    return Path(checkpoint).name if checkpoint else 'random'


def load_peer(spec: str, pretrained: bool = False) -> nn.Module:
    """Load a network to compare with, for images of any size if it can.

    Args:
        spec (str): As for
            :func:`mmfft.analysis.feature_models.load_feature_model`.
        pretrained (bool): Whether timm downloads its weights for the model.
            Defaults to False.

    Returns:
        nn.Module: Model in evaluation mode, on the CPU.

    Raises:
        ConfigError: If there is no such model, its checkpoint does not exist
            or fit, or timm has no weights for it.
    """
    if spec.partition('=')[0].endswith('.py'):
        return load_feature_model(spec)
    for any_size in _ANY_SIZE:
        try:
            return load_feature_model(spec, pretrained=pretrained, **any_size)
        except TypeError:
            # It has no such argument; the last ones are none.
            if not any_size:
                raise
        except (OSError, RuntimeError) as error:
            if not pretrained:
                raise
            raise ConfigError(
                f"--pretrained: timm's weights for {spec!r} cannot be had: "
                f'{" ".join(str(error).split())[:200]}'
            ) from error
    raise AssertionError  # the last of _ANY_SIZE is empty


def run_padding_effect(
    cfg: Config,
    checkpoint: str | None = None,
    peers: Sequence[str] = (),
    out: str | Path = 'work_dirs/padding_effect',
    count: int = 8,
    crop: Size | None = None,
    divisor: int = 32,
    neighbours: Sequence[float] = (1.5,),
    score_thr: float = 0.3,
    pretrained: bool = False,
    seed: int = 0,
    device: torch.device = torch.device('cpu'),
) -> dict:
    """Measure the effect of padding on the images of a config's test.

    Images are normalized and padded as the config's ``data_preprocessor``
    does, for all networks.

    Args:
        cfg (Config): Config of mmpretrain, mmdet or mmseg.
        checkpoint (str, optional): Its weights. Predictions are compared only
            with them. Defaults to none, for random weights.
        peers (Sequence[str]): Other networks, as for
            :func:`load_peer`. Defaults to none.
        out (str | Path): Folder of ``padding_effect.json``, which is
            overwritten. Defaults to ``'work_dirs/padding_effect'``.
        count (int): Largest number of images. Defaults to 8.
        crop (tuple[int, int], optional): ``(H, W)`` to which images are cut.
            Defaults to none.
        divisor (int): Padded sides are multiples of it. Defaults to 32.
        neighbours (Sequence[float]): Sides of the largest image in the batch
            relative to those of the image. Defaults to 1.5.
        score_thr (float): Lowest score of an object. Defaults to 0.3.
        pretrained (bool): Whether timm's models without a checkpoint get
            timm's weights, which are downloaded. Defaults to False.
        seed (int): Seed of random weights. Defaults to 0.
        device (torch.device): Device of the networks. Defaults to the CPU.

    Returns:
        dict: ``images``, their sizes; ``features``, rows from
        :meth:`Network.measure`; and ``predictions``, rows of a detector or a
        segmentor with a checkpoint.

    Raises:
        ConfigError: If the config has no backbone, test or data, if a
            checkpoint or peer does not exist or fit, if the config's own
            backbone refuses the images, or if no image is padded.
    """
    paddings = _paddings(divisor, neighbours)
    if not 0 <= score_thr <= 1:
        raise ConfigError(f'--score-thr must be from 0 to 1, got {score_thr}')
    compare = choose_by_scope(
        cfg, dict(mmpretrain=None, mmdet=_objects, mmseg=_labels)
    )
    # Before the work: what is misspelt, and what does not fit.
    networks = list(_networks(cfg, checkpoint, peers, pretrained, seed))
    model = build_model(cfg, checkpoint).to(device)
    samples = read_samples(cfg, count, crop)
    images = [normalized(model, sample).float() for sample in samples]
    sizes = [tuple(image.shape[2:]) for image in images]
    for padding in list(paddings):
        if all(padding.apply(size) == size for size in sizes):
            paddings.remove(padding)
    if not paddings:
        raise ConfigError(
            f'no image is padded: all have sides that are multiples of '
            f'{divisor}, such as {sizes[0]}. Cut them with --crop, or give '
            '--neighbours'
        )
    value = float(model.data_preprocessor.pad_value)
    features: list[dict] = []
    for network in networks:
        network.model.to(device)
        for padding in paddings:
            row = network.measure(images, padding, value)
            if 'refused' in row and not features:
                raise ConfigError(
                    f'the backbone of {cfg.filename!r} does not take images '
                    f'of {sizes[0]} or their paddings: {row["refused"]}'
                )
            features.append(row)
        network.model.cpu()
    predictions = []
    if checkpoint and compare:
        for name, preprocessor in _preprocessors(cfg, networks[0].name, model):
            model.data_preprocessor = preprocessor.to(device)
            alone = [predict(model, sample) for sample in samples]
            for padding in paddings:
                pairs = [
                    (one, predict(model, sample, padding))
                    for one, sample, size in zip(alone, samples, sizes)
                    if padding.apply(size) != size
                ]
                row = dict(network=name, padding=str(padding))
                row['images'] = len(pairs)
                predictions.append(row | compare(pairs, score_thr))
    results = dict(
        config=str(cfg.filename),
        checkpoint=checkpoint,
        images=[list(size) for size in sizes],
        features=features,
        predictions=predictions,
    )
    Path(out).mkdir(parents=True, exist_ok=True)
    dump(results, str(Path(out) / 'padding_effect.json'), indent=1)
    return results


def _paddings(divisor: int, neighbours: Sequence[float]) -> list[Padding]:
    require_whole_number('--divisor', divisor, 1)
    for factor in neighbours:
        if not factor > 1:
            raise ConfigError(
                '--neighbours are larger than the image, by factors above 1, '
                f'got {factor:g}'
            )
    return [Padding(divisor), *(Padding(divisor, f) for f in neighbours)]


def _preprocessors(cfg: Config, name: str, model: nn.Module):
    """The config's own, and the one of mmfft that gives ``valid_sizes``."""
    yield name, model.data_preprocessor
    settings = cfg.model.get('data_preprocessor') or {}
    ours = f'mmfft.{class_name(settings)}'
    if (
        isinstance(model.backbone, FourierBackbone)
        and MODELS.get(ours) is not None
        and not isinstance(model.data_preprocessor, MODELS.get(ours))
    ):
        yield f'{name}, {VALID_SIZES}', MODELS.build(dict(settings, type=ours))


def _objects(pairs: Sequence[tuple], score_thr: float) -> dict:
    """What becomes of the objects, over all images."""
    found = object_changes(pairs, score_thr)
    row = {
        name: sum(getattr(one, name) for one in found)
        for name in ('stay', 'vanish', 'appear')
    }
    for name in ('score', 'box', 'mask_iou'):
        values = [v for one in found for v in getattr(one, name)]
        worst = min if name == 'mask_iou' else max
        row[name] = (
            [statistics.median(values), worst(values)] if values else None
        )
    return row


def _labels(pairs: Sequence[tuple], score_thr: float) -> dict:
    """How many labels of pixels change, in the images."""
    shares = [
        changed_labels(a.pred_sem_seg.data, p.pred_sem_seg.data)
        for a, p in pairs
    ]
    return dict(changed_labels=[statistics.median(shares), max(shares)])


def feature_table(rows: Sequence[dict]) -> str:
    """Format the relative changes of features in percent.

    Args:
        rows (Sequence[dict]): ``features`` of :func:`run_padding_effect`.

    Returns:
        str: Table with one line per network and padding, in Markdown.
    """
    strides = sorted({s for row in rows for s in row.get('change', {})})
    lines = []
    for row in rows:
        change = row.get('change', {})
        cells = [
            f'{100 * change[s]:.3g}' if s in change else '-' for s in strides
        ]
        images = str(row.get('images', 'refused'))
        lines.append(
            [row['network'], row['weights'], row['padding'], images, *cells]
        )
    head = [f'stride {stride}, %' for stride in strides]
    return markdown_table(
        ['network', 'weights', 'padding', 'images', *head], lines, left=3
    )


def prediction_table(rows: Sequence[dict]) -> str:
    """Format the changes of predictions.

    Args:
        rows (Sequence[dict]): ``predictions`` of :func:`run_padding_effect`.

    Returns:
        str: Table in Markdown; of pairs such as ``0.01 / 0.2``, the first is
        the median and the second the worst. Empty if there are no rows.
    """
    if not rows:
        return ''
    if 'changed_labels' in rows[0]:
        columns = dict(changed_labels='labels that change, %')
    else:
        columns = dict(
            stay='stay',
            vanish='vanish',
            appear='appear',
            score='change of score',
            box='move of box, pixels',
            mask_iou='IoU of masks',
        )
    lines = [
        [row['network'], row['padding'], str(row['images'])]
        + [_cell(name, row[name]) for name in columns]
        for row in rows
    ]
    return markdown_table(
        ['network', 'padding', 'images', *columns.values()], lines, left=2
    )


def _cell(name: str, value: int | list[float] | None) -> str:
    if not isinstance(value, list):
        return '-' if value is None else str(value)
    if name == 'changed_labels':
        value = [100 * share for share in value]
    return ' / '.join(f'{number:.3g}' for number in value)


def plot_padding_effect(rows: Sequence[dict], path: str | Path) -> None:
    """Plot changes of features against the distance from the padding.

    The largest padding is drawn, with one panel per stride and one line per
    network, dashed with ``valid_sizes``.

    Args:
        rows (Sequence[dict]): ``features`` of :func:`run_padding_effect`.
        path (str | Path): Path of the PNG to write.
    """
    padding = rows[-1]['padding']
    rows = [
        row
        for row in rows
        if row['padding'] == padding and 'by_distance' in row
    ]
    strides = sorted({s for row in rows for s in row['by_distance']})
    figure = Figure(figsize=(2.9 * len(strides) + 0.6, 3.8))
    axes = figure.subplots(1, len(strides), sharey=True, squeeze=False)[0]
    for axis, stride in zip(axes, strides):
        for i, row in enumerate(rows):
            points = row['by_distance'].get(stride)
            if not points:
                continue
            distances, changes = zip(*points)
            axis.plot(
                distances,
                [max(change, _FLOOR) for change in changes],
                '--' if row['network'].endswith(VALID_SIZES) else '-',
                color=f'C{i}',
                marker='osv^D*'[i % 6],
                ms=2.5,
                lw=1,
                label=f'{row["network"]} ({row["weights"]})',
            )
        axis.set_yscale('log')
        axis.set_title(f'stride {stride}', fontsize=9)
        axis.set_xlabel('distance from the padding, pixels', fontsize=8)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.3)
    axes[0].set_ylim(bottom=_FLOOR / 2)  # of all, now that they are drawn
    axes[0].set_ylabel(
        f'relative change, {padding}\n({_FLOOR:g} or less at the bottom)',
        fontsize=8,
    )
    # No line of a network is in every panel.
    handles = {
        line.get_label(): line for axis in axes for line in axis.get_lines()
    }
    figure.legend(
        handles=list(handles.values()),
        loc='outside lower center',
        fontsize=7,
        ncols=2,
    )
    figure.set_layout_engine('constrained')
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=75)
