# Copyright (c) mmfft authors. All rights reserved.
import math
from collections.abc import Sequence
from functools import partial

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from ..errors import ConfigError, require_whole_number
from ..layers import GlobalFilter, GridParameter, convolve, mlp
from ..ops.interpolation import interpolate
from ..ops.precision import compute_dtype
from ..ops.spectrum import Grid
from .base import FourierBackbone, drop_path_rates

_norm = partial(nn.LayerNorm, eps=1e-6)


class PatchEmbed(nn.Module):
    """Non-overlapping patches: a convolution of stride ``patch``.

    Sizes that are not multiples of the patch are zero-padded on the right and
    at the bottom, so that no pixel is lost.
    """

    def __init__(self, in_channels: int, dim: int, patch: int):
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(in_channels, dim, patch, stride=patch)

    def out_grid(self, grid: Grid) -> Grid:
        return -(-grid[0] // self.patch), -(-grid[1] // self.patch)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W) -> (B, H', W', dim)``."""
        height, width = x.shape[2:]
        x = nn.functional.pad(
            x, (0, -width % self.patch, 0, -height % self.patch)
        )
        # The layout changes here, once; between stages this copies nothing.
        return convolve(self.proj, x).contiguous()


class PositionEmbedding(GridParameter):
    """Learned position embedding, resized (bicubic) to other grids."""

    def __init__(self, grid: Grid, dim: int):
        weight = torch.empty(1, grid[0] * grid[1], dim)
        super().__init__(grid, nn.init.trunc_normal_(weight, std=0.02))

    def resize(self, weight: Tensor, old_grid: Grid, new_grid: Grid) -> Tensor:
        return _resize_embedding(weight, old_grid, new_grid)

    def guess_grid(self, weight: Tensor) -> Grid:
        side = math.isqrt(weight.shape[1])
        if side * side != weight.shape[1]:
            raise ConfigError(
                f'a position embedding of {weight.shape[1]} tokens is not '
                'square and its checkpoint does not tell its grid'
            )
        return side, side

    def same_channels(self, weight: Tensor) -> bool:
        return weight.shape[2:] == self.weight.shape[2:]

    def forward(self, grid: Grid) -> Tensor:
        """Embedding on ``grid``, ``(1, H, W, dim)``."""
        rows, columns = grid
        return super().forward(grid).reshape(1, rows, columns, -1)


@torch.fx.wrap
def _resize_embedding(
    weight: Tensor, old_grid: Grid, new_grid: Grid
) -> Tensor:
    # As published: no antialiasing, corners not aligned.
    planes = weight.to(compute_dtype(weight)).reshape(*old_grid, -1)
    planes = interpolate(planes, new_grid, 'bicubic', align_corners=False)
    return planes.flatten(0, 1)[None].to(weight.dtype)


class GFNetBlock(nn.Module):
    """One residual: ``x + drop_path(gamma * mlp(norm(filter(norm(x)))))``.

    Args:
        dim (int): Channels.
        grid (tuple[int, int]): Grid that the filters are stored for.
        drop_path (float): Rate of stochastic depth.
        layer_scale (float, optional): Initial gamma; None for no gamma.
        filter_resize (str): See :func:`mmfft.ops.resize_filter`.
        boundary (str | tuple[str, str]): See :func:`mmfft.ops.extend`.
    """

    def __init__(
        self,
        dim: int,
        grid: Grid,
        drop_path: float,
        layer_scale: float | None,
        filter_resize: str,
        boundary: str | tuple[str, str],
    ):
        super().__init__()
        self.norm1 = _norm(dim)
        self.token_mixer = GlobalFilter(dim, grid, filter_resize, boundary)
        self.norm2 = _norm(dim)
        self.mlp = mlp(dim, 4 * dim, dim, nn.GELU, bias=True)
        self.gamma = (
            None
            if layer_scale is None
            else nn.Parameter(torch.full((dim,), layer_scale))
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        out = self.mlp(self.norm2(self.token_mixer(self.norm1(x))))
        if self.gamma is not None:
            out = self.gamma * out
        return x + self.drop_path(out)


class GFNet(FourierBackbone):
    """Global filters at one resolution.

    From `Global Filter Networks for Image Classification
    <https://arxiv.org/abs/2107.00645>`_. Each block is a level: the outputs
    all have the stride of the patch, and dense heads take them through a neck
    of the toolbox that makes a pyramid of one scale. The output norm of the
    last block is the classifier's, and published.

    Args:
        arch (str | dict): ``'ti'``, ``'xs'``, ``'s'``, ``'b'`` or a dict with
            ``embed_dim`` and ``depth``. Defaults to ``'ti'``.
        patch_size (int): Side of a patch in pixels. Defaults to 16.
        filter_resize (str): How filters are brought to another grid, at load
            and at forward, see :func:`mmfft.ops.resize_filter`. Defaults to
            ``'bicubic'``.
        boundary (str | tuple[str, str]): What filters see beyond the border
            of a map, ``'circular'``, ``'zero'``, ``'reflect'`` or
            ``(height, width)`` of them, see :func:`mmfft.ops.extend`.
            Defaults to ``'circular'``, as published.
        out_indices (int | Sequence[int]): Blocks to return. Defaults to -1,
            the last.
        **kwargs: Other arguments of :class:`FourierBackbone`.

    Raises:
        ConfigError: If an argument is out of its range.
    """

    # As published: convolutions keep PyTorch's own initialization.
    truncated_normal_layers = (nn.Linear,)
    arch_zoo = {
        'ti': dict(embed_dim=256, depth=12),
        'xs': dict(embed_dim=384, depth=12),
        's': dict(embed_dim=384, depth=19),
        'b': dict(embed_dim=512, depth=19),
    }

    def __init__(
        self,
        arch: str | dict = 'ti',
        *,
        patch_size: int = 16,
        filter_resize: str = 'bicubic',
        boundary: str | tuple[str, str] = 'circular',
        out_indices: int | Sequence[int] = -1,
        **kwargs,
    ):
        super().__init__(arch, out_indices=out_indices, **kwargs)
        require_whole_number('patch_size', patch_size, 1)
        dim = self.arch['embed_dim']
        self.patch_embed = PatchEmbed(self.in_channels, dim, patch_size)
        grid = self.patch_embed.out_grid(self.img_size)
        self.pos_embed = PositionEmbedding(grid, dim)
        rates = drop_path_rates(self.drop_path_rate, self.num_levels)
        self.blocks = nn.ModuleList(
            GFNetBlock(dim, grid, rate, None, filter_resize, boundary)
            for rate in rates[: self.out_indices[-1] + 1]
        )
        self._finish()

    @property
    def dims(self) -> Sequence[int]:
        return [self.arch['embed_dim']] * self.arch['depth']

    @property
    def depths(self) -> Sequence[int]:
        return [1] * self.arch['depth']

    def arguments_of(self, weights: dict[str, Tensor]) -> dict[str, object]:
        found = super().arguments_of(weights)
        for key in ('arch.embed_dims', 'arch.depths'):
            found.pop(key, None)
        stem = weights.get('patch_embed.proj.weight')
        if stem is not None and stem.dim() == 4:
            found['arch.embed_dim'] = stem.shape[0]
            found['patch_size'] = stem.shape[2]
        return found

    def differing_arguments(self, weights: dict[str, Tensor]) -> list[str]:
        differing = super().differing_arguments(weights)
        blocks = {
            name.split('.')[1] for name in weights if name.startswith('blocks')
        }
        # Those after the last of out_indices are not built.
        if blocks and not len(self.blocks) <= len(blocks) <= self.num_levels:
            differing.append(
                f'arch.depth is {self.num_levels}, {len(blocks)} in the file'
            )
        return differing

    def grids(self, img_size: Grid) -> list[Grid]:
        return [self.patch_embed.out_grid(img_size)] * len(self.blocks)

    def _enter(self, level: int, x: Tensor) -> Tensor:
        if level > 0:
            return x
        x = self.patch_embed(x)
        return x + self.pos_embed(x.shape[1:3])


class GFNetPyramid(FourierBackbone):
    """Global filters in four stages, published as GFNet-H.

    From `Global Filter Networks for Image Classification
    <https://arxiv.org/abs/2107.00645>`_. The output norm of the last stage is
    the classifier's, and published.

    Args:
        arch (str | dict): ``'h-ti'``, ``'h-s'`` or ``'h-b'``, small and not
            published ``'h-nano'``, ``'h-micro'`` or ``'h-mini'``, or a dict
            with ``embed_dims``, ``depths`` and ``layer_scale`` (initial gamma
            of the blocks). Defaults to ``'h-ti'``.
        filter_resize (str): How filters are brought to another grid, at load
            and at forward, see :func:`mmfft.ops.resize_filter`. Defaults to
            ``'bicubic'``.
        boundary (str | tuple[str, str]): What filters see beyond the border
            of a map, ``'circular'``, ``'zero'``, ``'reflect'`` or
            ``(height, width)`` of them, see :func:`mmfft.ops.extend`.
            Defaults to ``'circular'``, as published.
        **kwargs: Arguments of :class:`FourierBackbone`.

    Raises:
        ConfigError: If an argument is out of its range.
    """

    patch_embed: nn.ModuleList
    blocks: nn.ModuleList
    # As published: convolutions keep PyTorch's own initialization.
    truncated_normal_layers = (nn.Linear,)
    arch_zoo = {
        'h-ti': dict(
            embed_dims=[64, 128, 256, 512],
            depths=[3, 3, 10, 3],
            layer_scale=1e-3,
        ),
        'h-s': dict(
            embed_dims=[96, 192, 384, 768],
            depths=[3, 3, 10, 3],
            layer_scale=1e-5,
        ),
        'h-b': dict(
            embed_dims=[96, 192, 384, 768],
            depths=[3, 3, 27, 3],
            layer_scale=1e-6,
        ),
        'h-nano': dict(
            embed_dims=[24, 48, 96, 160], depths=[1, 1, 4, 2], layer_scale=1.0
        ),
        'h-micro': dict(
            embed_dims=[32, 64, 160, 256], depths=[2, 2, 6, 2], layer_scale=1.0
        ),
        'h-mini': dict(
            embed_dims=[48, 96, 192, 320], depths=[2, 2, 8, 2], layer_scale=1.0
        ),
    }
    small_archs = ('h-nano', 'h-micro', 'h-mini')

    def __init__(
        self,
        arch: str | dict = 'h-ti',
        *,
        filter_resize: str = 'bicubic',
        boundary: str | tuple[str, str] = 'circular',
        **kwargs,
    ):
        super().__init__(arch, **kwargs)

        def build_block(stage: int, grid: Grid, drop_path: float) -> nn.Module:
            gamma = self.arch['layer_scale']
            return GFNetBlock(
                self.dims[stage],
                grid,
                drop_path,
                gamma,
                filter_resize,
                boundary,
            )

        self._build_stages(build_block)

    def _build_entry(self, stage: int, grid: Grid) -> tuple[nn.Module, Grid]:
        dim = self.dims[stage]
        if stage > 0:
            entry = PatchEmbed(self.dims[stage - 1], dim, 2)
            return entry, entry.out_grid(grid)
        entry = PatchEmbed(self.in_channels, dim, 4)
        grid = entry.out_grid(grid)
        self.pos_embed = PositionEmbedding(grid, dim)
        return entry, grid

    def _enter(self, level: int, x: Tensor) -> Tensor:
        if level > 0:
            # A permuted view: a convolution reads channels-last as it is.
            return self.patch_embed[level](x.permute(0, 3, 1, 2))
        x = self.patch_embed[0](x)
        return x + self.pos_embed(x.shape[1:3])
