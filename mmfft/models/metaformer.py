# Copyright (c) mmfft authors. All rights reserved.
from collections.abc import Callable, Sequence

import torch
from timm.layers import DropPath
from torch import Tensor, nn

from ..errors import ConfigError
from ..layers import StarReLU, convolve, mlp
from ..ops.spectrum import Grid
from .base import FourierBackbone, drop_path_rates


def _norm(dim: int) -> nn.LayerNorm:
    return nn.LayerNorm(dim, eps=1e-6, bias=False)


class Stem(nn.Module):
    """Image to tokens: ``(B, C, H, W) -> (B, H', W', dim)``, stride 4."""

    def __init__(self, in_channels: int, dim: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, dim, 7, stride=4, padding=2)
        self.post_norm = _norm(dim)

    @staticmethod
    def out_grid(grid: Grid) -> Grid:
        return tuple((n - 3) // 4 + 1 for n in grid)

    def forward(self, x: Tensor) -> Tensor:
        return self.post_norm(convolve(self.conv, x))


class Downsampling(nn.Module):
    """Half the grid: ``(B, H, W, C) -> (B, ceil(H/2), ceil(W/2), dim)``."""

    def __init__(self, in_channels: int, dim: int):
        super().__init__()
        self.pre_norm = _norm(in_channels)
        self.conv = nn.Conv2d(in_channels, dim, 3, stride=2, padding=1)

    @staticmethod
    def out_grid(grid: Grid) -> Grid:
        return tuple((n + 1) // 2 for n in grid)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pre_norm(x).permute(0, 3, 1, 2)
        return convolve(self.conv, x)


class Scale(nn.Module):
    """A learnable factor per channel, starting at 1."""

    def __init__(self, dim: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class MetaFormerBlock(nn.Module):
    """Two residual branches, a token mixer and an MLP.

    ``x = scale(x) + drop_path(branch(norm(x)))`` for each; the learnable
    scale stands on the shortcut.
    """

    def __init__(
        self,
        dim: int,
        token_mixer: nn.Module,
        res_scale: bool,
        act_layer: Callable[[], nn.Module],
        drop_path: float,
    ):
        super().__init__()

        def shortcut():
            return Scale(dim) if res_scale else nn.Identity()

        self.norm1 = _norm(dim)
        self.token_mixer = token_mixer
        self.res_scale1 = shortcut()
        self.norm2 = _norm(dim)
        self.mlp = mlp(dim, 4 * dim, dim, act_layer)
        self.res_scale2 = shortcut()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.res_scale1(x) + self.drop_path(
            self.token_mixer(self.norm1(x))
        )
        return self.res_scale2(x) + self.drop_path(self.mlp(self.norm2(x)))


class MetaFormer(FourierBackbone):
    """Four-stage skeleton of `MetaFormer Baselines for Vision
    <https://arxiv.org/abs/2210.13452>`_ around any token mixer.

    Features are channels-last ``(B, H, W, C)`` from the stem to the output
    norms. Stages behind the last of ``out_indices`` are not built.

    Args:
        arch (str | dict): A name in ``arch_zoo`` or a dict with
            ``embed_dims`` and ``depths``, four of each.
        in_channels (int): Channels of the image. Defaults to 3.
        img_size (int | tuple[int, int]): Input size ``(H, W)`` that grids of
            learned filters are stored for; any other input size works, the
            filters are resized. Defaults to 224.
        drop_path_rate (float): Stochastic depth of the last block, growing
            linearly from 0. Defaults to 0.
        act_layer (Callable): Makes the activation of the MLPs and of the
            mixers' expansion. Defaults to StarReLU.
        out_indices (int | Sequence[int]): Stages to return, of stride 4, 8,
            16, 32. Defaults to ``(0, 1, 2, 3)``.
        out_norm (bool): Whether each output passes a LayerNorm of its own,
            as for dense prediction. The family's classifiers take the plain
            last stage instead, see :class:`MlpClassifier`. Defaults to True.
        with_cp (bool): Recompute blocks in the backward pass to save memory.
            Defaults to False.

    Raises:
        ConfigError: If an argument is out of its range.
    """

    min_image_size = 3

    def __init__(
        self,
        arch: str | dict,
        in_channels: int = 3,
        img_size: int | Grid = 224,
        drop_path_rate: float = 0.0,
        act_layer: Callable[[], nn.Module] = StarReLU,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        out_norm: bool = True,
        with_cp: bool = False,
    ):
        super().__init__(arch, in_channels, img_size, out_indices, with_cp)
        if min(self.img_size) < self.min_image_size:
            raise ConfigError(
                f'img_size must be at least {self.min_image_size} pixels on '
                f'each side for the stem, got {img_size!r}'
            )
        dims, depths = self.arch['embed_dims'], self.arch['depths']
        self.downsample_layers = nn.ModuleList()
        self.stages = nn.ModuleList()
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        grid = self.img_size
        for i in range(self.out_indices[-1] + 1):
            layer = (
                Stem(in_channels, dims[0])
                if i == 0
                else Downsampling(dims[i - 1], dims[i])
            )
            grid = layer.out_grid(grid)
            self.downsample_layers.append(layer)
            self.stages.append(
                nn.Sequential(
                    *(
                        MetaFormerBlock(
                            dims[i],
                            self.build_token_mixer(
                                i, dims[i], grid, act_layer
                            ),
                            res_scale=i >= 2,
                            act_layer=act_layer,
                            drop_path=next(rates),
                        )
                        for _ in range(depths[i])
                    )
                )
            )
        self._add_norms(dims, out_norm)
        self._init_parameters()

    @property
    def num_levels(self) -> int:
        return 4

    def build_token_mixer(
        self,
        stage: int,
        dim: int,
        grid: Grid,
        act_layer: Callable[[], nn.Module],
    ) -> nn.Module:
        """Mixer of one block of ``stage``, which works on ``grid``."""
        raise NotImplementedError

    def forward_levels(self, x: Tensor, levels: Sequence[int]) -> list[Tensor]:
        outs = []
        for i in range(levels[-1] + 1):
            x = self.downsample_layers[i](x)
            for block in self.stages[i]:
                x = self._run(block, x)
            if i in levels:
                outs.append(x)
        return outs

    def first_modules(self, levels: int) -> list[nn.Module]:
        return [
            *self.downsample_layers[: max(1, levels)],
            *self.stages[:levels],
            *self._first_norms(levels),
        ]

    def get_layer_depth(
        self, param_name: str, prefix: str = ''
    ) -> tuple[int, int]:
        """Depth of a parameter for layer-wise learning rate decay.

        Args:
            param_name (str): Full name of the parameter.
            prefix (str): What stands before the backbone's own names, such
                as ``'backbone.'``.

        Returns:
            tuple[int, int]: Its depth, 0 for the stem and ``num_layers - 1``
            for output norms and what is not of the backbone, and
            ``num_layers``.
        """
        depths = self.arch['depths']
        num_layers = sum(depths) + 2
        if not param_name.startswith(prefix):
            return num_layers - 1, num_layers
        kind, *rest = param_name[len(prefix) :].split('.')
        if kind == 'downsample_layers' and rest[0] == '0':
            return 0, num_layers
        if kind in ('downsample_layers', 'stages'):
            stage = int(rest[0])
            block = int(rest[1]) if kind == 'stages' else 0
            return 1 + sum(depths[:stage]) + block, num_layers
        return num_layers - 1, num_layers
