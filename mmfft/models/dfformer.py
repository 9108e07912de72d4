# Copyright (c) mmfft authors. All rights reserved.
import re
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ..errors import ConfigError
from ..layers import AFNO2D, DynamicFilter, ExpandedGlobalFilter, SepConv
from ..ops.boundary import boundary_of_axes, is_circular
from ..ops.spectrum import Grid
from .metaformer import MetaFormer

# Parameters that only one of the token mixers has.
_MARKS = {
    'basis': 'DynamicFilter',
    'filter': 'ExpandedGlobalFilter',
    'w1': 'AFNO2D',
    'dwconv': 'SepConv',
}
TOKEN_MIXERS = ('DynamicFilter', 'ExpandedGlobalFilter', 'AFNO2D', 'SepConv')
# Of earlier configs, where it did not mean `mmfft.layers.GlobalFilter`.
_RENAMED = {'GlobalFilter': 'ExpandedGlobalFilter'}


class DFFormer(MetaFormer):
    """Dynamic filters everywhere.

    From `FFT-based Dynamic Token Mixer for Vision
    <https://arxiv.org/abs/2303.03932>`_.

    Args:
        arch (str | dict): ``'s18'``, ``'s36'``, ``'m36'`` or ``'b36'``, small
            and not published ``'nano'``, ``'micro'`` or ``'mini'``, or a dict
            with ``embed_dims`` and ``depths``. Defaults to ``'s18'``.
        token_mixers (Sequence[str], optional): Mixer of each stage, of
            ``'DynamicFilter'``, ``'ExpandedGlobalFilter'``, ``'AFNO2D'``,
            ``'SepConv'``; ``'GlobalFilter'`` is an earlier name of the second
            one and still means it. Defaults to the class's own.
        num_filters (int): Basis filters of a dynamic filter. Defaults to 4.
        reweight_ratio (float): Hidden width of a dynamic filter's routing
            MLP over the channels. Defaults to 0.25.
        filter_resize (str): How filters are brought to another grid, at load
            and at forward, see :func:`mmfft.ops.resize_filter`. Defaults to
            ``'bicubic'``.
        boundary (str | tuple[str, str]): What filters see beyond the border
            of a map, ``'circular'``, ``'zero'``, ``'reflect'`` or
            ``(height, width)`` of them, see :func:`mmfft.ops.extend`.
            ``'SepConv'`` sees zeros in any case, ``'AFNO2D'`` can only be
            circular. Defaults to ``'circular'``, as published.
        **kwargs: Arguments of :class:`MetaFormer`.
    """

    arch_zoo = {
        's18': dict(embed_dims=[64, 128, 320, 512], depths=[3, 3, 9, 3]),
        's36': dict(embed_dims=[64, 128, 320, 512], depths=[3, 12, 18, 3]),
        'm36': dict(embed_dims=[96, 192, 384, 576], depths=[3, 12, 18, 3]),
        'b36': dict(embed_dims=[128, 256, 512, 768], depths=[3, 12, 18, 3]),
        'nano': dict(embed_dims=[24, 48, 96, 128], depths=[1, 1, 3, 1]),
        'micro': dict(embed_dims=[32, 64, 160, 256], depths=[1, 1, 4, 1]),
        'mini': dict(embed_dims=[48, 96, 224, 352], depths=[1, 1, 4, 1]),
    }
    small_archs = ('nano', 'micro', 'mini')
    token_mixers: Sequence[str] = ('DynamicFilter',) * 4

    def __init__(
        self,
        arch: str | dict = 's18',
        token_mixers: Sequence[str] | None = None,
        num_filters: int = 4,
        reweight_ratio: float = 0.25,
        filter_resize: str = 'bicubic',
        boundary: str | tuple[str, str] = 'circular',
        **kwargs,
    ):
        if token_mixers is None:
            token_mixers = self.token_mixers
        if (
            not isinstance(token_mixers, (list, tuple))
            or len(token_mixers) != 4
            or not all(m in (*TOKEN_MIXERS, *_RENAMED) for m in token_mixers)
        ):
            raise ConfigError(
                'token_mixers must be four of '
                f'{TOKEN_MIXERS}, got {token_mixers!r}'
            )
        self.token_mixers = [_RENAMED.get(m, m) for m in token_mixers]
        self.num_filters = num_filters
        self.reweight_ratio = reweight_ratio
        self.filter_resize = filter_resize
        self.boundary = boundary_of_axes(boundary)
        if 'AFNO2D' in self.token_mixers and not is_circular(self.boundary):
            raise ConfigError(
                f'boundary={boundary!r}: AFNO2D, among the token_mixers, '
                "mixes the spectrum by a network and is always 'circular'"
            )
        super().__init__(arch, **kwargs)

    def arguments_of(self, weights: dict[str, Tensor]) -> dict[str, object]:
        found = super().arguments_of(weights)
        mixers: dict[int, str] = {}
        for name in weights:
            mark = re.match(r'stages\.(\d+)\.\d+\.token_mixer\.(\w+)', name)
            if mark and mark[2] in _MARKS:
                mixers[int(mark[1])] = _MARKS[mark[2]]
            elif (
                mark and mark[2] == 'reweight' and name.endswith('fc1.weight')
            ):
                mixer = name.removesuffix('reweight.fc1.weight')
                routing = [
                    weights.get(f'{mixer}{layer}.weight')
                    for layer in ('reweight.fc1', 'reweight.fc2', 'pwconv1')
                ]
                shapes = [w.shape for w in routing if w is not None]
                if [len(shape) for shape in shapes] == [2, 2, 2]:
                    first, last, expansion = shapes
                    found['reweight_ratio'] = first[0] / first[1]
                    found['num_filters'] = last[0] // expansion[0]
        if mixers:
            found['token_mixers'] = mixers
        return found

    def build_token_mixer(
        self,
        stage: int,
        dim: int,
        grid: Grid,
        act_layer: Callable[[], nn.Module],
    ) -> nn.Module:
        mixer = self.token_mixers[stage]
        if mixer == 'DynamicFilter':
            return DynamicFilter(
                dim,
                grid,
                num_filters=self.num_filters,
                reweight_ratio=self.reweight_ratio,
                act_layer=act_layer,
                filter_resize=self.filter_resize,
                boundary=self.boundary,
            )
        if mixer == 'ExpandedGlobalFilter':
            return ExpandedGlobalFilter(
                dim,
                grid,
                act_layer=act_layer,
                filter_resize=self.filter_resize,
                boundary=self.boundary,
            )
        if mixer == 'AFNO2D':
            return AFNO2D(dim, act_layer=act_layer)
        return SepConv(dim, act_layer=act_layer)


class CDFFormer(DFFormer):
    """Convolutions first, dynamic filters later."""

    token_mixers = ('SepConv', 'SepConv', 'DynamicFilter', 'DynamicFilter')


class GFFormer(DFFormer):
    """Static global filters everywhere, the paper's comparison."""

    token_mixers = ('ExpandedGlobalFilter',) * 4
