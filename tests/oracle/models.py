# Copyright (c) mmfft authors. All rights reserved.
"""The published layers and models in plain PyTorch.

The benchmarks and the tests compare mmfft with these. Each formula of the
papers is computed as in the released code, by separate operations (FFT in
float32, complex filters by one complex einsum, norms from mean and variance,
StarReLU by its formula). Parameters have the names of ``mmfft.backbones``, so
that a state dict of ours can be loaded:

    plain = build('dfformer_s18', img_size=224)
    plain.load_state_dict(ours.state_dict())

Papers: DFFormer and CDFFormer https://arxiv.org/abs/2303.03932, the skeleton
https://arxiv.org/abs/2210.13452, GFNet https://arxiv.org/abs/2107.00645.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oracle.filters import filtered, mixture

ARCHS = {
    's18': ([64, 128, 320, 512], [3, 3, 9, 3]),
    's36': ([64, 128, 320, 512], [3, 12, 18, 3]),
    'm36': ([96, 192, 384, 576], [3, 12, 18, 3]),
    'b36': ([128, 256, 512, 768], [3, 12, 18, 3]),
    'h-ti': ([64, 128, 256, 512], [3, 3, 10, 3]),
    'h-s': ([96, 192, 384, 768], [3, 3, 10, 3]),
    'h-b': ([96, 192, 384, 768], [3, 3, 27, 3]),
}


def spectral_filter(x: Tensor, filter: Tensor) -> Tensor:
    """Apply GFNet's filter ``(H, Wf, C, 2)`` to a map ``(B, H, W, C)``."""
    return filtered(x.float(), torch.view_as_complex(filter.float()))


def dynamic_spectral_filter(
    x: Tensor, routing: Tensor, basis: Tensor
) -> Tensor:
    """Apply DFFormer's filter with a basis ``(H, Wf, N, 2)``."""
    kernel = mixture(routing, torch.view_as_complex(basis.float()))
    return filtered(x.float(), kernel)


class Norm(nn.Module):
    """Layer norm without bias, from mean and variance."""

    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.pow(2).mean(-1, keepdim=True)
        return centred / torch.sqrt(variance + 1e-6) * self.weight


class StarReLU(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * F.relu(x) ** 2 + self.bias


class HalfSpectrum(nn.Module):
    """Filters for maps of one grid."""

    def __init__(self, grid: tuple[int, int], num_filters: int):
        super().__init__()
        shape = (grid[0], grid[1] // 2 + 1, num_filters, 2)
        self.register_buffer('grid', torch.tensor(grid))
        self.weight = nn.Parameter(torch.randn(shape) * 0.02)


class DynamicFilter(nn.Module):
    def __init__(self, dim: int, grid: tuple[int, int]):
        super().__init__()
        self.pwconv1 = nn.Linear(dim, 2 * dim, bias=False)
        self.act1 = StarReLU()
        self.reweight = nn.Sequential(
            OrderedDict(
                fc1=nn.Linear(dim, dim // 4, bias=False),
                act=StarReLU(),
                fc2=nn.Linear(dim // 4, 4 * 2 * dim, bias=False),
            )
        )
        self.basis = HalfSpectrum(grid, 4)
        self.pwconv2 = nn.Linear(2 * dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        routing = self.reweight(x.mean(dim=(1, 2)))
        routing = routing.view(len(x), 4, -1).softmax(dim=1)
        x = self.act1(self.pwconv1(x))
        x = dynamic_spectral_filter(x, routing, self.basis.weight)
        return self.pwconv2(x)


class SepConv(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.pwconv1 = nn.Linear(dim, 2 * dim, bias=False)
        self.act1 = StarReLU()
        self.dwconv = nn.Conv2d(
            2 * dim, 2 * dim, 7, padding=3, groups=2 * dim, bias=False
        )
        self.pwconv2 = nn.Linear(2 * dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.pwconv1(x))
        x = self.dwconv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.pwconv2(x)


class Mlp(nn.Module):
    def __init__(self, dim: int, act: nn.Module, bias: bool):
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim, bias=bias)
        self.act = act
        self.fc2 = nn.Linear(4 * dim, dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class Scale(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale


class MetaFormerBlock(nn.Module):
    def __init__(self, dim: int, token_mixer: nn.Module, res_scale: bool):
        super().__init__()
        self.norm1 = Norm(dim)
        self.token_mixer = token_mixer
        self.res_scale1 = Scale(dim) if res_scale else nn.Identity()
        self.norm2 = Norm(dim)
        self.mlp = Mlp(dim, StarReLU(), bias=False)
        self.res_scale2 = Scale(dim) if res_scale else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.res_scale1(x) + self.token_mixer(self.norm1(x))
        return self.res_scale2(x) + self.mlp(self.norm2(x))


class Downsampling(nn.Module):
    def __init__(self, in_channels: int, dim: int, first: bool):
        super().__init__()
        if first:
            self.conv = nn.Conv2d(in_channels, dim, 7, 4, 2)
            self.post_norm = Norm(dim)
        else:
            self.pre_norm = Norm(in_channels)
            self.conv = nn.Conv2d(in_channels, dim, 3, 2, 1)
        self.first = first

    def forward(self, x: Tensor) -> Tensor:
        if self.first:
            return self.post_norm(self.conv(x).permute(0, 2, 3, 1))
        x = self.pre_norm(x).permute(0, 3, 1, 2)
        return self.conv(x).permute(0, 2, 3, 1)


class MetaFormer(nn.Module):
    """DFFormer, or CDFFormer with ``convolutions``, up to the last stage."""

    def __init__(
        self, arch: str, img_size: tuple[int, int], convolutions: bool
    ):
        super().__init__()
        dims, depths = ARCHS[arch]
        self.downsample_layers = nn.ModuleList()
        self.stages = nn.ModuleList()
        grid = img_size
        for i, (dim, depth) in enumerate(zip(dims, depths)):
            before = dims[i - 1] if i else 3
            self.downsample_layers.append(Downsampling(before, dim, i == 0))
            grid = tuple((n + 1) // 2 if i else (n - 3) // 4 + 1 for n in grid)
            blocks = []
            for _ in range(depth):
                if convolutions and i < 2:
                    mixer = SepConv(dim)
                else:
                    mixer = DynamicFilter(dim, grid)
                blocks.append(MetaFormerBlock(dim, mixer, i >= 2))
            self.stages.append(nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> Tensor:
        for downsample, stage in zip(self.downsample_layers, self.stages):
            x = stage(downsample(x))
        return x.permute(0, 3, 1, 2).contiguous()


class GlobalFilter(nn.Module):
    def __init__(self, dim: int, grid: tuple[int, int]):
        super().__init__()
        self.filter = HalfSpectrum(grid, dim)
        self.size = grid

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape
        x = x.view(shape[0], *self.size, shape[2])
        return spectral_filter(x, self.filter.weight).reshape(shape)


class GFNetBlock(nn.Module):
    def __init__(self, dim: int, grid: tuple[int, int]):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.token_mixer = GlobalFilter(dim, grid)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, nn.GELU(), bias=True)
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.token_mixer(self.norm1(x))
        return x + self.gamma * self.mlp(self.norm2(mixed))


class PatchEmbed(nn.Module):
    def __init__(self, in_channels: int, dim: int, patch: int):
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class PositionEmbedding(nn.Module):
    def __init__(self, grid: tuple[int, int], dim: int):
        super().__init__()
        self.register_buffer('grid', torch.tensor(grid))
        self.weight = nn.Parameter(torch.zeros(1, grid[0] * grid[1], dim))


class GFNetPyramid(nn.Module):
    """GFNet-H on tokens ``(B, N, C)``, up to the norm after the last stage."""

    def __init__(self, arch: str, img_size: tuple[int, int]):
        super().__init__()
        dims, depths = ARCHS[arch]
        self.patch_embed = nn.ModuleList()
        self.blocks = nn.ModuleList()
        grid = img_size
        for i, (dim, depth) in enumerate(zip(dims, depths)):
            patch = 2 if i else 4
            before = dims[i - 1] if i else 3
            self.patch_embed.append(PatchEmbed(before, dim, patch))
            grid = tuple(n // patch for n in grid)
            if i == 0:
                self.pos_embed = PositionEmbedding(grid, dim)
            self.blocks.append(
                nn.Sequential(*(GFNetBlock(dim, grid) for _ in range(depth)))
            )
        self.norm3 = nn.LayerNorm(dims[-1], eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        for i, (embed, stage) in enumerate(zip(self.patch_embed, self.blocks)):
            x = embed(x)
            size = x.shape[2:]
            x = x.flatten(2).transpose(1, 2)
            if i == 0:
                x = x + self.pos_embed.weight
            x = stage(x)
            if i == 3:
                x = self.norm3(x)
            x = x.transpose(1, 2).reshape(len(x), -1, *size)
        return x


def build(name: str, img_size: int | tuple[int, int]) -> nn.Module:
    """Build the model of a published variant.

    Args:
        name (str): Name such as ``'dfformer_s18'``, ``'cdfformer_s18'`` or
            ``'gfnet-h-ti'``.
        img_size (int | tuple[int, int]): Size of the images; the model takes
            no other size.

    Returns:
        nn.Module: Model from images ``(B, 3, H, W)`` to the feature map
        ``(B, C, H', W')`` of the last stage.
    """
    size = (img_size, img_size) if isinstance(img_size, int) else img_size
    if name.startswith('gfnet-'):
        return GFNetPyramid(name.removeprefix('gfnet-'), size)
    family, arch = name.split('_')
    return MetaFormer(arch, size, convolutions=family == 'cdfformer')
