# Copyright (c) mmfft authors. All rights reserved.
"""Read and draw the filters of a model, also those made for an image."""

import fnmatch
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import TRANSFORMS
from PIL import Image
from torch import Tensor, nn

from ..errors import ConfigError, require_whole_number
from ..layers import (
    AFNO2D,
    DynamicFilter,
    ExpandedGlobalFilter,
    GlobalFilter,
    HalfSpectrum,
    SepConv,
)
from ..openmmlab.scopes import enter_scope
from ..openmmlab.test_pipeline import image_steps
from ..ops import project_hermitian
from ..ops.spectrum import Grid
from .pictures import as_picture

FILTERS = (GlobalFilter, ExpandedGlobalFilter, DynamicFilter)
# Mixers that a user may ask for but that have no filter to draw.
OTHERS = {
    SepConv: 'a convolution in space, not a filter on the spectrum',
    AFNO2D: 'an MLP on the spectrum, which no filter describes',
}
# Number of layers that are drawn if none is named.
LAYERS = 4


@dataclass
class Seen:
    """What the filters of a model did with one image.

    Args:
        image (np.ndarray): Image as it entered the backbone, RGB uint8
            ``(H, W, 3)``.
        grids (dict[str, tuple[int, int]]): Grid ``(H, W)`` of the features at
            each layer.
        routing (dict[str, Tensor]): Weights of the basis filters,
            ``(num_filters, channels)``, at each dynamic layer.
    """

    image: np.ndarray | None = None
    grids: dict[str, Grid] = field(default_factory=dict)
    routing: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class LayerFilters:
    """The filters of one layer on one grid.

    Args:
        name (str): Name of the layer in the model.
        kind (str): Name of the layer's class.
        grid (tuple[int, int]): Grid ``(H, W)`` on which the filters are read.
        stored (tuple[int, int]): Grid ``(H, W)`` for which they are stored.
        filters (Tensor): Hermitian half spectra, float64 of shape
            ``(H, W // 2 + 1, N, 2)``: of each channel, or the basis of a
            dynamic layer.
        is_basis (bool): Whether the filters are a basis.
        routing (Tensor, optional): Weights of the basis filters for an image,
            float64 ``(N, channels)``. Defaults to none.
    """

    name: str
    kind: str
    grid: Grid
    stored: Grid
    filters: Tensor
    is_basis: bool
    routing: Tensor | None = None

    @property
    def num_channels(self) -> int | None:
        """Number of filtered channels; None for a basis without an image."""
        if self.is_basis:
            return None if self.routing is None else self.routing.shape[1]
        return self.filters.shape[2]

    def of_channels(self, channels: Sequence[int]) -> Tensor:
        """The filters that act on some channels, ``(H, W // 2 + 1, c, 2)``.

        For a dynamic layer this is the basis weighted by the routing, as
        `DFFormer <https://arxiv.org/abs/2303.03932>`_ generates them.
        """
        channels = list(channels)
        if not self.is_basis:
            return self.filters[:, :, channels]
        routing = self.routing[:, channels]
        return torch.einsum('hwnp,nc->hwcp', self.filters, routing)


def spectrum_and_kernel(filters: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Full spectra and kernels of filters, centred for display.

    Args:
        filters (Tensor): Half spectra, real ``(H, W // 2 + 1, N, 2)``.
        grid (tuple[int, int]): Grid ``(H, W)`` of the filters.

    Returns:
        tuple[Tensor, Tensor]: Transfer functions, complex ``(N, H, W)`` with
        zero frequency at ``(H // 2, W // 2)``, and the kernels with which the
        features are convolved (circularly), real ``(N, H, W)`` with the tap
        of no shift at the same place.
    """
    filters = project_hermitian(filters, grid)
    half = torch.view_as_complex(filters.contiguous()).permute(2, 0, 1)
    kernel = torch.fft.irfft2(half, s=tuple(grid))
    spectrum = torch.fft.fft2(kernel)
    axes = (-2, -1)
    return (
        torch.fft.fftshift(spectrum, dim=axes),
        torch.fft.fftshift(kernel, dim=axes),
    )


def filter_layers(
    model: nn.Module, patterns: Sequence[str] = ()
) -> dict[str, nn.Module]:
    """Find the layers of a model that are spectral filters.

    Args:
        model (nn.Module): Backbone, or a model that contains one.
        patterns (Sequence[str]): Names, beginnings of names
            (``backbone.stages.2``) or shell patterns (``*.0.token_mixer``).
            Defaults to all layers.

    Returns:
        dict[str, nn.Module]: Layers by name, in the order of the model.

    Raises:
        ConfigError: If the model has no such layer, or none for a pattern.
    """
    modules = dict(model.named_modules())
    layers = {n: m for n, m in modules.items() if isinstance(m, FILTERS)}
    if not layers:
        have = {type(m) for m in modules.values()} & set(OTHERS)
        raise ConfigError(
            f'{type(model).__name__} has no filter to draw'
            + ''.join(f'; {k.__name__} is {OTHERS[k]}' for k in have)
        )
    if not patterns:
        return layers
    chosen = set()
    for pattern in patterns:
        found = [n for n in layers if _fits(n, pattern)]
        if not found:
            raise ConfigError(_no_such_layer(pattern, modules, layers))
        chosen.update(found)
    return {name: m for name, m in layers.items() if name in chosen}


def _fits(name: str, pattern: str) -> bool:
    return fnmatch.fnmatchcase(name, pattern) or name.startswith(f'{pattern}.')


def _no_such_layer(pattern: str, modules: dict, layers: dict) -> str:
    for name, module in modules.items():
        if type(module) in OTHERS and _fits(name, pattern):
            why = f'{name} is {type(module).__name__}, {OTHERS[type(module)]}'
            break
    else:
        why = 'no layer of this name'
    names = ', '.join(layers)
    return f'layers: {pattern!r}: {why}; the filters are in {names}'


@contextmanager
def watch(model: nn.Module) -> Iterator[Seen]:
    """Record what the filters of a model do while it runs.

    Args:
        model (nn.Module): Model of mmpretrain, mmdet or mmseg.

    Yields:
        Seen: Record that a forward pass fills in for the first image of its
        batch.
    """
    seen = Seen()

    def note_image(module, args):
        seen.image = _as_picture(args[0][0], model.data_preprocessor)

    def note_layer(name):
        def note(module, args):
            seen.grids[name] = tuple(args[0].shape[1:3])
            if isinstance(module, DynamicFilter):
                routing = module.routing(args[0][:1])[0]
                seen.routing[name] = routing.detach().cpu()

        return note

    hooks = [model.backbone.register_forward_pre_hook(note_image)]
    for name, layer in filter_layers(model).items():
        hooks.append(layer.register_forward_pre_hook(note_layer(name)))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _as_picture(image: Tensor, preprocessor: nn.Module) -> np.ndarray:
    """Undo the normalization of an image; RGB uint8 ``(H, W, 3)``."""
    image = image.detach().cpu().float()
    if getattr(preprocessor, '_enable_normalize', False):
        mean, std = preprocessor.mean.cpu(), preprocessor.std.cpu()
        image = image * std.reshape(-1, 1, 1) + mean.reshape(-1, 1, 1)
    # Images are read as BGR; each toolbox names the conversion in its own way.
    names = ('to_rgb', '_channel_conversion', 'channel_conversion')
    is_rgb = any(getattr(preprocessor, name, False) for name in names)
    # Without the last digits, 0 is 0 and 255 is 255 again.
    pixels = image.permute(1, 2, 0).numpy().round(2)
    return as_picture(pixels, is_bgr=pixels.shape[2] == 3 and not is_rgb)


@torch.no_grad()
def see_image(model: nn.Module, cfg: Config, path: str | Path) -> Seen:
    """Run the backbone on an image that is loaded as for the config's test.

    Args:
        model (nn.Module): Model of mmpretrain, mmdet or mmseg.
        cfg (Config): Config of the model.
        path (str | Path): Path of the image.

    Returns:
        Seen: What the filters did.

    Raises:
        ConfigError: If the image does not exist or cannot be read, or the
            config has no test.
    """
    if not Path(path).is_file():
        raise ConfigError(f'image {str(path)!r} does not exist')
    enter_scope(cfg)
    pipeline = Compose([TRANSFORMS.build(step) for step in image_steps(cfg)])
    try:
        data = pipeline(dict(img_path=str(path), img_id=0))
    # Every decoder has errors of its own.
    except Exception as error:
        raise ConfigError(
            f"image {str(path)!r} cannot be read as for the config's test: "
            f'{error}'
        ) from error
    data = model.data_preprocessor(pseudo_collate([data]), False)
    was_training = model.training
    model.eval()
    try:
        with watch(model) as seen:
            model.backbone(data['inputs'])
    finally:
        model.train(was_training)
    return seen


@torch.no_grad()
def read_filters(
    model: nn.Module, patterns: Sequence[str] = (), seen: Seen | None = None
) -> list[LayerFilters]:
    """Read the filters of some layers.

    Args:
        model (nn.Module): Backbone, or a model that contains one.
        patterns (Sequence[str]): See :func:`filter_layers`. Defaults to
            four layers, evenly spaced through the depth.
        seen (Seen, optional): Record from :func:`see_image`, to read the
            filters on the grids of its image, with its routing. Defaults to
            none: filters are read on the grids for which they are stored.

    Returns:
        list[LayerFilters]: Filters of each layer, in the order of the model.

    Raises:
        ConfigError: If the model has no such layer, or none for a pattern.
    """
    layers = filter_layers(model, patterns)
    names = list(layers)
    if not patterns:
        names = [names[i] for i in _evenly(len(names), LAYERS)]
    return [_read(name, layers[name], seen or Seen()) for name in names]


def _evenly(count: int, wanted: int) -> list[int]:
    """Up to ``wanted`` different indices of ``count``, both ends included."""
    spaced = np.linspace(0, count - 1, min(count, wanted))
    return spaced.round().astype(int).tolist()


def _read(name: str, layer: nn.Module, seen: Seen) -> LayerFilters:
    is_basis = isinstance(layer, DynamicFilter)
    stored: HalfSpectrum = layer.basis if is_basis else layer.filter
    grid = seen.grids.get(name, stored.size)
    # On the grid of the features, also where another boundary extends it.
    filters = stored.resize(stored.weight, stored.size, grid)
    filters = filters.detach().cpu().double()
    routing = seen.routing.get(name)
    return LayerFilters(
        name,
        type(layer).__name__,
        tuple(grid),
        stored.size,
        project_hermitian(filters, grid),
        is_basis,
        None if routing is None else routing.double(),
    )


# ------------------------------------------------------------------ drawing

ROWS = ('amplitude', 'phase', 'kernel')
# One colour per basis filter, from a set without both red and green.
BASIS_COLOURS = [colormaps['Set2'](i) for i in range(8)]


def draw_filters(
    layers: Sequence[LayerFilters],
    channels: int | Sequence[int] = 6,
    image: np.ndarray | None = None,
) -> np.ndarray:
    """Draw amplitude, phase and spatial kernel of filters.

    Each layer is a band with one colour scale for each of the three. If a few
    values are far larger than the others, the scale ends at the 99.5th
    percentile, so that one strong tap does not leave the rest pale; an arrow
    at the colour bar shows this.

    Args:
        layers (Sequence[LayerFilters]): Filters from :func:`read_filters`.
        channels (int | Sequence[int]): Which channels to draw, or how many,
            evenly spaced. Those of a dynamic layer need an image. Defaults
            to 6.
        image (np.ndarray, optional): ``Seen.image``, to be drawn beside the
            filters. Defaults to none.

    Returns:
        np.ndarray: Picture, RGB uint8 ``(H, W, 3)``.

    Raises:
        ConfigError: If a channel does not exist.
    """
    bands = [_Band(layer, channels, image) for layer in layers]
    width = max(8.0, *(band.width for band in bands))
    figure = Figure(
        figsize=(width, sum(band.height for band in bands)),
        dpi=100,
        layout='constrained',
    )
    canvas = FigureCanvasAgg(figure)
    figures = figure.subfigures(
        len(bands), 1, height_ratios=[b.height for b in bands], squeeze=False
    )
    for subfigure, band in zip(figures[:, 0], bands):
        band.draw(subfigure, width)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_picture(picture: np.ndarray, path: str | Path) -> None:
    """Write an RGB picture, and make its folder if needed.

    Args:
        picture (np.ndarray): Picture from :func:`draw_filters`.
        path (str | Path): Path of the ``.png`` file.

    Raises:
        ConfigError: If the path does not end with ``.png``.
    """
    path = Path(path)
    if path.suffix.lower() != '.png':
        raise ConfigError(f'{str(path)!r} must end with .png')
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, optimize=True)


class _Band:
    """One layer: columns for the image, its basis and its channels."""

    def __init__(self, layer, channels, image):
        self.layer, self.image = layer, image
        self.channels = _channels(layer, channels)
        # (title, colour of the title, half spectrum) of each column.
        self.basis, self.filters = [], []
        if layer.is_basis:
            for n in range(layer.filters.shape[2]):
                colour = BASIS_COLOURS[n % len(BASIS_COLOURS)]
                filters = layer.filters[:, :, n : n + 1]
                self.basis.append((f'basis {n + 1}', colour, filters))
        if self.channels:
            filters = layer.of_channels(self.channels).split(1, dim=2)
            for channel, one in zip(self.channels, filters):
                self.filters.append((f'channel {channel}', 'none', one))
        self.columns = [*self.basis, *self.filters]
        # Left edges of the panels; the basis stands apart.
        self.lefts = [
            1.08 * i + 0.3 * (0 < len(self.basis) <= i)
            for i in range(len(self.columns))
        ]
        self.routed = int(layer.routing is not None)
        rows, columns = layer.grid
        # Very long grids are squeezed.
        ratio = min(max(columns / rows, 0.6), 1.8)
        self.panels_width = ratio * (self.lefts[-1] + 1)
        self.image_width = 0 if image is None else 3.0
        self.width = 1.3 + self.image_width + self.panels_width
        self.height = 4.1 + 0.75 * self.routed

    def draw(self, figure, width):
        figure.suptitle(self.title(), fontsize=11, x=0.01, ha='left')
        image_width = [self.image_width] * (self.image is not None)
        # Narrower bands leave free space on their right.
        free = max(0.01, width - self.width)
        grid = figure.add_gridspec(
            self.routed + len(ROWS),
            len(image_width) + 3,
            width_ratios=[*image_width, self.panels_width, 0.12, free],
            height_ratios=[0.6] * self.routed + [1] * len(ROWS),
        )
        if image_width:
            axes = figure.add_subplot(grid[self.routed :, 0])
            axes.imshow(self.image)
            axes.set_title('the image as the network sees it', fontsize=9)
            axes.axis('off')
        column = len(image_width)
        for row, (name, panels) in enumerate(zip(ROWS, self.values())):
            place = grid[self.routed + row, column]
            shown, extend = self._draw_row(
                figure.add_subplot(place), name, panels, titles=row == 0
            )
            place = grid[self.routed + row, column + 1]
            bar = figure.colorbar(
                shown, cax=figure.add_subplot(place), extend=extend
            )
            bar.ax.tick_params(labelsize=7)
            if name == 'phase':
                bar.set_ticks([-np.pi, 0, np.pi], labels=['−π', '0', 'π'])
        if self.routed:
            self._draw_routing(figure.add_subplot(grid[0, column]))

    def title(self):
        layer = self.layer
        title = f'{layer.name}   {layer.kind}   {_size(layer.grid)} grid'
        if layer.grid != layer.stored:
            title += f' (stored for {_size(layer.stored)})'
        if layer.num_channels is not None:
            title += (
                f'   {len(self.channels)} of {layer.num_channels} channels'
            )
        return title

    def values(self):
        """Amplitude, phase and kernel of each column."""
        filters = torch.cat([one for _, _, one in self.columns], dim=2)
        spectrum, kernel = spectrum_and_kernel(filters, self.layer.grid)
        spectrum = spectrum.numpy()
        return np.abs(spectrum), np.angle(spectrum), kernel.numpy()

    def _draw_row(self, axes, name, panels, titles):
        # Axes are slow to lay out: one per row, not one per panel.
        cmap, norm, extend = _scale(name, panels)
        for x, panel, column in zip(self.lefts, panels, self.columns):
            shown = axes.imshow(
                panel,
                cmap=cmap,
                norm=norm,
                extent=(x, x + 1, 0, 1),
                interpolation='nearest',
                aspect='auto',
            )
            axes.add_patch(Rectangle((x, 0), 1, 1, fill=False, lw=0.8))
            if titles:
                label, colour, _ = column
                box = dict(facecolor=colour, edgecolor='none', pad=2)
                axes.text(
                    x + 0.5, 1.06, label, ha='center', va='bottom',
                    fontsize=9, bbox=box,
                )  # fmt: skip
        axes.set_xlim(-0.01, self.lefts[-1] + 1.01)
        axes.set_ylim(-0.01, 1.01)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        axes.set_ylabel(name, fontsize=9)
        return shown, extend

    def _draw_routing(self, axes):
        colours = [colour for _, colour, _ in self.basis]
        count = len(colours)
        first = len(self.basis)
        for channel, x in zip(self.channels, self.lefts[first:]):
            weights = self.layer.routing[:, channel].numpy()
            places = x + (np.arange(count) + 0.5) / count
            axes.bar(places, weights, color=colours, width=0.85 / count)
            axes.plot([x, x + 1], [0, 0], color='black', linewidth=0.8)
            for place, weight in zip(places, weights):
                text = f'{weight:.2f}'.removeprefix('0')
                axes.text(
                    place, weight + 0.03, text, ha='center', va='bottom',
                    fontsize=6.5,
                )  # fmt: skip
        axes.text(
            self.lefts[first] - 0.08, 0.5, 'routing', rotation=90,
            ha='right', va='center', fontsize=9,
        )  # fmt: skip
        axes.set_xlim(-0.01, self.lefts[-1] + 1.01)
        axes.set_ylim(0, 1.25)
        axes.axis('off')


def _size(grid: Grid) -> str:
    return f'{grid[0]}×{grid[1]}'


def _channels(layer: LayerFilters, channels: int | Sequence[int]) -> list[int]:
    count = layer.num_channels
    if count is None:
        return []
    if isinstance(channels, int):
        require_whole_number('channels', channels, 1)
        return _evenly(count, channels)
    wrong = [c for c in channels if not 0 <= c < count]
    if wrong or not channels:
        raise ConfigError(
            f'channels={list(channels)}: {layer.name} has the channels 0 to '
            f'{count - 1}'
        )
    return list(channels)


def _scale(name: str, values: np.ndarray) -> tuple[str, Normalize, str]:
    """Choose a colour map, its range and the arrows of its bar."""
    if name == 'phase':
        # Cyclic: -pi and pi have the same colour.
        return 'twilight', Normalize(-math.pi, math.pi), 'neither'
    size = np.abs(values)
    usual, top = np.percentile(size, 99.5), size.max() or 1.0
    clipped = top > 1.5 * usual > 0
    if clipped:
        top = usual
    if name == 'amplitude':
        return 'viridis', Normalize(0, top), 'max' if clipped else 'neither'
    return 'RdBu_r', Normalize(-top, top), 'both' if clipped else 'neither'
