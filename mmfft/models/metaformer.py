# Copyright (c) mmfft authors. All rights reserved.
import re
from collections.abc import Callable

from timm.layers import DropPath
from torch import Tensor, nn

from ..layers import Residual, StarReLU, convolve, mlp
from ..ops.spectrum import Grid
from .base import FourierBackbone


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
        return (grid[0] - 3) // 4 + 1, (grid[1] - 3) // 4 + 1

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
        return (grid[0] + 1) // 2, (grid[1] + 1) // 2

    def forward(self, x: Tensor) -> Tensor:
        x = self.pre_norm(x).permute(0, 3, 1, 2)
        return convolve(self.conv, x)


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
        self.norm1 = _norm(dim)
        self.token_mixer = token_mixer
        self.res_scale1 = Residual(dim, res_scale)
        self.norm2 = _norm(dim)
        self.mlp = mlp(dim, 4 * dim, dim, act_layer)
        self.res_scale2 = Residual(dim, res_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.res_scale1(x, self.drop_path(self.token_mixer(self.norm1(x))))
        return self.res_scale2(x, self.drop_path(self.mlp(self.norm2(x))))


class MetaFormer(FourierBackbone):
    """Four-stage skeleton of `MetaFormer Baselines for Vision
    <https://arxiv.org/abs/2210.13452>`_ around any token mixer.

    Features are channels-last ``(B, H, W, C)`` from the stem to the output
    norms. Those are for dense prediction: the family's classifiers take the
    plain last stage instead (``out_norm=False``), see :class:`MlpClassifier`.

    Args:
        arch (str | dict): A name in ``arch_zoo`` or a dict with
            ``embed_dims`` and ``depths``, four of each.
        act_layer (Callable): Makes the activation of the MLPs and of the
            mixers' expansion. Defaults to StarReLU.
        **kwargs: Arguments of :class:`FourierBackbone`.

    Raises:
        ConfigError: If an argument is out of its range.
    """

    min_image_size = 3
    entry_layers = 'downsample_layers'
    level_layers = 'stages'
    downsample_layers: nn.ModuleList
    stages: nn.ModuleList

    def __init__(
        self,
        arch: str | dict,
        *,
        act_layer: Callable[[], nn.Module] = StarReLU,
        **kwargs,
    ):
        super().__init__(arch, **kwargs)

        def build_block(stage: int, grid: Grid, drop_path: float) -> nn.Module:
            dim = self.dims[stage]
            return MetaFormerBlock(
                dim,
                self.build_token_mixer(stage, dim, grid, act_layer),
                res_scale=stage >= 2,
                act_layer=act_layer,
                drop_path=drop_path,
            )

        self._build_stages(build_block)

    def arguments_of(self, weights: dict[str, Tensor]) -> dict[str, object]:
        found = super().arguments_of(weights)
        act = {
            name.rpartition('.')[2]
            for name in weights
            if re.match(r'stages\.\d+\.\d+\.mlp\.act\.', name)
        }
        if 'arch.depths' in found:
            found['act_layer (act_cfg)'] = (
                f'one with {" and ".join(sorted(act))}'
                if act
                else 'one without parameters'
            )
        return found

    def build_token_mixer(
        self,
        stage: int,
        dim: int,
        grid: Grid,
        act_layer: Callable[[], nn.Module],
    ) -> nn.Module:
        """Mixer of one block of ``stage``, which works on ``grid``."""
        raise NotImplementedError

    def _build_entry(self, stage: int, grid: Grid) -> tuple[nn.Module, Grid]:
        dim = self.dims[stage]
        if stage == 0:
            return Stem(self.in_channels, dim), Stem.out_grid(grid)
        entry = Downsampling(self.dims[stage - 1], dim)
        return entry, entry.out_grid(grid)

    def _enter(self, level: int, x: Tensor) -> Tensor:
        return self.downsample_layers[level](x)
