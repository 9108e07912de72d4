# Copyright (c) mmfft authors. All rights reserved.
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile

import torch
import torch.utils.checkpoint as checkpoint
from timm.models import adapt_input_conv
from torch import Tensor, nn

from ..errors import (
    ConfigError,
    require_one_of,
    require_size,
    require_whole_number,
)
from ..layers import GridParameter
from ..layers.torchscript import fix_traced_size, refuse_script
from ..ops.dispatch import is_recorded
from ..ops.spectrum import Grid
from .initialization import INITS, LayerTypes, initialize
from .valid_sizes import forward_each_size

_LOGGER = logging.getLogger('mmfft')


class FourierBackbone(nn.Module):
    """What the Fourier backbones share: arguments, levels, loading.

    A level is what ``out_indices`` can name: a stage or, of a backbone without
    stages, a block. A subclass has ``arch_zoo`` and, where it has no stages,
    ``dims`` and ``depths`` of its own. After calling this constructor it
    builds its layers by ``_build_stages``, or by itself and ends with
    ``_finish``. Levels after the last of ``out_indices`` are not built.

    Args:
        arch (str | dict): A name in ``arch_zoo`` or a dict with its keys.
        in_channels (int): Channels of the image. Defaults to 3.
        img_size (int | tuple[int, int]): Input size ``(H, W)`` that what is
            learned on a grid, filters and position embedding, is stored for;
            any other input size works, they are resized. Defaults to 224.
        drop_path_rate (float): Stochastic depth of the last block, growing
            linearly from 0. Defaults to 0.
        out_indices (int | Sequence[int]): Levels to return, ascending,
            negative ones counted from the end. Defaults to ``(0, 1, 2, 3)``,
            the stages of stride 4, 8, 16 and 32.
        out_norm (bool): Whether each output passes a LayerNorm of its own.
            Defaults to True.
        with_cp (bool): Recompute each block in the backward pass instead of
            keeping its activations. Defaults to False.
        init (str, optional): How a training from scratch starts, with
            ``'published'`` or ``'unit_variance'`` values, see
            ``mmfft.models.initialization``. Defaults to
            ``'unit_variance'`` for the archs in ``small_archs``, to
            ``'published'`` for others.

    Raises:
        ConfigError: If an argument is out of its range.
    """

    __prepare_scriptable__ = refuse_script
    arch_zoo: dict[str, dict] = {}
    # Archs of mmfft's own, for small data; the others are published.
    small_archs: Sequence[str] = ()
    # Shortest side of an image from which the stem makes one token.
    min_image_size = 1
    # Layers that start from a truncated normal; others keep PyTorch's own.
    truncated_normal_layers: LayerTypes = (nn.Conv2d, nn.Linear)
    # Names of the layers that lead into each level, and of the levels.
    entry_layers = 'patch_embed'
    level_layers = 'blocks'
    # Whether a stem of other channels takes weights for RGB; a plain
    # load_state_dict() refuses them, as PyTorch does.
    adapt_stem = False

    def __init__(
        self,
        arch: str | dict,
        *,
        in_channels: int = 3,
        img_size: int | Grid = 224,
        drop_path_rate: float = 0.0,
        out_indices: int | Sequence[int] = (0, 1, 2, 3),
        out_norm: bool = True,
        with_cp: bool = False,
        init: str | None = None,
    ):
        super().__init__()
        self.arch = self.resolve_arch(arch)
        self.init = self.default_init(arch) if init is None else init
        require_one_of('init', self.init, INITS)
        require_whole_number('in_channels', in_channels, 1)
        self.in_channels = in_channels
        self.img_size = self._check_img_size(img_size)
        self.drop_path_rate = drop_path_rate
        self.out_indices = _resolve_out_indices(out_indices, self.num_levels)
        self.out_norm = out_norm
        self.with_cp = with_cp

    @property
    def dims(self) -> Sequence[int]:
        """Channels of each level."""
        return self.arch['embed_dims']

    @property
    def depths(self) -> Sequence[int]:
        """Blocks of each level."""
        return self.arch['depths']

    @property
    def num_levels(self) -> int:
        """Levels whose outputs ``out_indices`` can name."""
        return len(self.dims)

    @classmethod
    def default_init(cls, arch: str | dict) -> str:
        """What ``init`` is where none is given, for an arch."""
        is_small = isinstance(arch, str) and arch.lower() in cls.small_archs
        return 'unit_variance' if is_small else 'published'

    @classmethod
    def resolve_arch(cls, arch: str | dict) -> dict:
        """An arch by its name, or a dict that is checked."""
        keys = set(next(iter(cls.arch_zoo.values())))
        if isinstance(arch, str):
            if arch.lower() not in cls.arch_zoo:
                raise ConfigError(
                    f'arch={arch!r} is not an arch of {cls.__name__}: choose '
                    f'from {sorted(cls.arch_zoo)} or give a dict with the '
                    f'keys {sorted(keys)}'
                )
            return cls.arch_zoo[arch.lower()]
        if not isinstance(arch, dict) or set(arch) != keys:
            raise ConfigError(
                f'arch={arch!r} must be one of {sorted(cls.arch_zoo)} or a '
                f'dict with the keys {sorted(keys)}'
            )
        for key in ('embed_dim', 'depth'):
            if key in keys:
                require_whole_number(f'{key} of arch', arch[key], 1)
        # A stage without blocks is only its downsampling.
        for key, least in [('embed_dims', 1), ('depths', 0)]:
            if key not in keys:
                continue
            if not isinstance(arch[key], (list, tuple)) or len(arch[key]) != 4:
                raise ConfigError(
                    f'{key} of arch needs four entries, got {arch[key]!r}'
                )
            for size in arch[key]:
                require_whole_number(f'{key} of arch', size, least)
        return arch

    def _check_img_size(self, img_size: int | Grid) -> Grid:
        size = require_size('img_size', img_size)
        if min(size) < self.min_image_size:
            raise ConfigError(
                f'img_size must be at least {self.min_image_size} pixels on '
                f'each side for the stem, got {img_size!r}'
            )
        return size

    def _build_stages(
        self, build_block: Callable[[int, Grid, float], nn.Module]
    ) -> None:
        """Build the stages and what leads into them, and finish.

        Args:
            build_block (Callable): Makes a block from its stage, its grid and
                its rate of stochastic depth.
        """
        entries, stages = nn.ModuleList(), nn.ModuleList()
        self.add_module(self.entry_layers, entries)
        self.add_module(self.level_layers, stages)
        rates = iter(drop_path_rates(self.drop_path_rate, sum(self.depths)))
        grid = self.img_size
        for stage in range(self.out_indices[-1] + 1):
            entry, grid = self._build_entry(stage, grid)
            entries.append(entry)
            blocks = (
                build_block(stage, grid, next(rates))
                for _ in range(self.depths[stage])
            )
            stages.append(nn.Sequential(*blocks))
        self._finish()

    def _build_entry(self, stage: int, grid: Grid) -> tuple[nn.Module, Grid]:
        """Module that leads from a grid into a stage, and the stage's grid."""
        raise NotImplementedError

    def _finish(self) -> None:
        """Output norms and initial values, once all other layers are made."""
        for i in self.out_indices:
            norm = (
                nn.LayerNorm(self.dims[i], eps=1e-6)
                if self.out_norm
                else nn.Identity()
            )
            self.add_module(f'norm{i}', norm)
        self._start()

    def set_img_size(self, img_size: int | Grid) -> None:
        """Store what is learned on a grid for another input size.

        The backbone is then as one that was made for this size and has loaded
        the weights. What is resized is a new parameter, which an optimizer
        made before does not know.

        Args:
            img_size (int | tuple[int, int]): Input size ``(H, W)``.

        Raises:
            ConfigError: If it is not a size, or too small for the stem.
        """
        self.img_size = self._check_img_size(img_size)
        grids = self.grids(self.img_size)
        for name, module in self.named_modules():
            if isinstance(module, GridParameter):
                kind, level, *_ = f'{name}.0'.split('.')
                # The position embedding stands before the first level.
                in_level = kind == self.level_layers
                module.store_for(grids[int(level) if in_level else 0])

    def grids(self, img_size: Grid) -> list[Grid]:
        """Size of the feature map of each level that is built.

        Args:
            img_size (tuple[int, int]): Input size ``(H, W)``.
        """
        grids, grid = [], img_size
        for entry in getattr(self, self.entry_layers):
            grid = entry.out_grid(grid)
            grids.append(grid)
        return grids

    def _enter(self, level: int, x: Tensor) -> Tensor:
        """Image, or output of the level before, to the input of a level."""
        raise NotImplementedError

    def forward_levels(self, x: Tensor, levels: Sequence[int]) -> list[Tensor]:
        """Features as they leave the last block of some levels.

        Args:
            x (Tensor): Shape ``(B, in_channels, H, W)``.
            levels (Sequence[int]): Indices, ascending; nothing after the last
                is computed.

        Returns:
            list[Tensor]: One ``(B, H, W, C)`` for each level, before its norm.
        """
        outs = []
        for i in range(levels[-1] + 1):
            x = self._enter(i, x)
            level = getattr(self, self.level_layers)[i]
            for block in (
                level if isinstance(level, nn.Sequential) else [level]
            ):
                x = self._run(block, x)
            if i in levels:
                outs.append(x)
        return outs

    def forward(
        self, x: Tensor, valid_sizes: Sequence[Grid] | None = None
    ) -> tuple[Tensor, ...]:
        """Image to features.

        Args:
            x (Tensor): Shape ``(B, in_channels, H, W)``.
            valid_sizes (Sequence[tuple[int, int]], optional): ``(h, w)`` of
                each image of a batch that is padded on the right and below.
                Its features are then those of the image alone, whatever the
                padding and the other images are, and zero beyond it. The
                filters and the routing of ``(H, W)`` see the padding
                otherwise. Defaults to None, for the whole ``(H, W)``.

        Returns:
            tuple[Tensor]: One contiguous ``(B, C, H, W)`` for each of
            ``out_indices``.

        Raises:
            TypeError: If the image is not a floating-point tensor.
            ValueError: If it has another shape or is too small for the stem.
            ConfigError: If ``valid_sizes`` do not fit the batch, or while a
                graph is exported, which cannot hold them.
        """
        _check_image(x, self.in_channels, self.min_image_size)
        if isinstance(valid_sizes, torch.fx.Proxy):
            _refuse_sizes(valid_sizes)  # whatever the graph is called with
        elif valid_sizes is not None:
            return forward_each_size(
                self._forward_whole,
                self._out_grids,
                x,
                valid_sizes,
                self.min_image_size,
            )
        return self._forward_whole(x)

    def _out_grids(self, img_size: Grid) -> list[Grid]:
        grids = self.grids(img_size)
        return [grids[i] for i in self.out_indices]

    def _forward_whole(self, x: Tensor) -> tuple[Tensor, ...]:
        outs = self.forward_levels(x, self.out_indices)
        return tuple(
            getattr(self, f'norm{i}')(out).permute(0, 3, 1, 2).contiguous()
            for i, out in zip(self.out_indices, outs)
        )

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        if self.with_cp and x.requires_grad:
            return checkpoint.checkpoint(block, x, use_reentrant=False)
        return block(x)

    def first_modules(self, levels: int) -> list[nn.Module]:
        """The stem and the first levels, with their output norms.

        Args:
            levels (int): Number of levels, from 0 for the stem only.

        Returns:
            list[nn.Module]: Modules of this backbone, the position embedding
            among them where there is one.
        """
        modules: list[nn.Module] = []
        for name, module in self.named_children():
            if isinstance(module, nn.ModuleList):
                is_level = name == self.level_layers
                modules += module[: levels if is_level else max(1, levels)]
            elif not name.startswith('norm') or int(name[4:]) < levels:
                modules.append(module)
        return modules

    def get_layer_depth(
        self, param_name: str, prefix: str = ''
    ) -> tuple[int, int]:
        """Depth of a parameter for layer-wise learning rate decay.

        Args:
            param_name (str): Full name of the parameter.
            prefix (str): Prefix of the backbone's own names, such as
                ``'backbone.'``. Defaults to none.

        Returns:
            tuple[int, int]: Its depth, 0 for the stem and ``num_layers - 1``
            for output norms and what is not in the backbone, and
            ``num_layers``.
        """
        num_layers = sum(self.depths) + 2
        kind, *rest = param_name.removeprefix(prefix).split('.')
        numbers = map(int, takewhile(str.isdecimal, rest))
        level, block = (*numbers, 0, 0)[:2]
        if not param_name.startswith(prefix) or kind not in (
            self.entry_layers,
            self.level_layers,
            'pos_embed',
        ):
            return num_layers - 1, num_layers
        if kind != self.level_layers and level == 0:
            return 0, num_layers
        return 1 + sum(self.depths[:level]) + block, num_layers

    def _start(self) -> None:
        self.init_parameters()

    def init_parameters(self) -> None:
        """Give the layers the values from which a training starts."""
        initialize(self, self.init, self.truncated_normal_layers)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        """Check and report what comes in, before anything is changed."""
        own = _without_grids(self.state_dict())
        if not prefix and not any(name in state_dict for name in own):
            _take_backbone_of_classifier(state_dict)
        adapted = self._adapt_stem(state_dict, prefix)
        under_prefix = {
            name.removeprefix(prefix): value
            for name, value in state_dict.items()
            if name.startswith(prefix)
        }
        incoming = _without_grids(under_prefix)
        loaded = [name for name in own if name in incoming]
        if not loaded and (incoming or not prefix):
            raise ConfigError(
                f'nothing in the checkpoint fits {type(self).__name__}: it '
                f'has {list(incoming)[:3]}, the model {list(own)[:3]}'
            )
        resized = self._check_shapes(loaded, own, under_prefix)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        # A part of a larger model may be left out on purpose.
        if not loaded:
            self._log(
                f'{type(self).__name__}: the checkpoint has nothing for '
                f'{prefix}',
                logging.WARNING,
            )
            return
        if all(_same_memory(incoming[name], own[name]) for name in loaded):
            return  # its own weights, which have been reported before
        self._log(
            f'{type(self).__name__}: loaded {len(loaded)} of {len(own)} '
            f'tensors{adapted}; resized: {resized or "none"}; missing: '
            f'{first_few(n for n in own if n not in incoming)}; left over: '
            f'{first_few(n for n in incoming if n not in own)}',
            logging.INFO,
        )

    def _stem_weight(self) -> str:
        convs = (
            name
            for name, module in self.named_modules()
            if isinstance(module, nn.Conv2d)
        )
        return f'{next(convs)}.weight'

    def _adapts_stem(self) -> bool:
        return self.adapt_stem

    def _adapt_stem(self, state_dict: dict, prefix: str) -> str:
        """Bring a stem for RGB to other channels, in place; say how."""
        name = prefix + self._stem_weight()
        weight = state_dict.get(name)
        if (
            not self._adapts_stem()
            or weight is None
            or weight.dim() != 4
            or weight.shape[1] != 3
            or self.in_channels == 3
        ):
            return ''
        state_dict[name] = adapt_input_conv(self.in_channels, weight)
        how = (
            'summed for in_channels=1'
            if self.in_channels == 1
            else f'repeated for in_channels={self.in_channels} and scaled'
        )
        return f'; the 3 channels of the stem {how}'

    def arguments_of(self, weights: dict[str, Tensor]) -> dict[str, object]:
        """Arguments of this class that a state dict was made with.

        Args:
            weights (dict[str, Tensor]): State dict of a backbone of this
                class, or a part of it.

        Returns:
            dict[str, object]: Values by argument, those that the names and
            shapes tell; a dict by level where each level has a value.
        """
        found: dict[str, object] = {}
        stem = weights.get(self._stem_weight())
        if stem is not None and stem.dim() == 4:
            found['in_channels'] = stem.shape[1]
        dims: dict[int, int] = {}
        blocks: dict[int, set[int]] = {}
        for name, value in weights.items():
            kind, *rest = name.split('.')
            numbers = [*map(int, takewhile(str.isdecimal, rest)), 0, 0]
            if kind == self.entry_layers and value.dim() == 4:
                dims[numbers[0]] = value.shape[0]
            elif kind == self.level_layers:
                blocks.setdefault(numbers[0], set()).add(numbers[1])
        if dims:
            found['arch.embed_dims'] = dims
        if blocks:
            found['arch.depths'] = {i: len(blocks[i]) for i in blocks}
        return found

    def differing_arguments(self, weights: dict[str, Tensor]) -> list[str]:
        """Say which arguments are not those of a state dict.

        Args:
            weights (dict[str, Tensor]): As for :meth:`arguments_of`.

        Returns:
            list[str]: One phrase for each, such as ``'in_channels is 4, 3 in
            the file'``.
        """
        own = self.arguments_of(self.state_dict())
        theirs = self.arguments_of(weights)
        return [
            f'{name} is {_shown(own[name])}, '
            f'{_shown(theirs[name])} in the file'
            for name in own
            if name in theirs and not _agree(own[name], theirs[name])
        ]

    def _log(self, message: str, level: int) -> None:
        _LOGGER.log(level, message)

    def _check_shapes(
        self, loaded: list[str], own: dict, incoming: dict
    ) -> str:
        """Refuse shapes that do not fit; say what is resized."""
        changes: Counter[tuple[str, Grid, Grid]] = Counter()
        on_grids = {
            f'{name}.weight': module
            for name, module in self.named_modules()
            if isinstance(module, GridParameter)
        }
        for name in loaded:
            module = on_grids.get(name)
            fits = (
                incoming[name].shape == own[name].shape
                if module is None
                else module.same_channels(incoming[name])
            )
            if not fits:
                kind = type(self).__name__
                differing = ' and '.join(self.differing_arguments(incoming))
                what = (
                    f'{kind}: {differing}'
                    if differing
                    else f'arch={self.arch} of {kind}'
                )
                raise ConfigError(
                    f'the checkpoint does not fit {what}: {name} has shape '
                    f'{tuple(incoming[name].shape)}, the model '
                    f'{tuple(own[name].shape)}'
                )
            if module is None:
                continue
            old = module.incoming_grid(incoming, name.removesuffix('weight'))
            assert old is not None  # its weight is among those loaded
            if old != module.size:
                changes[type(module).__name__, old, module.size] += 1
        return ', '.join(
            f'{count} {kind} from {old[0]}x{old[1]} to {new[0]}x{new[1]}'
            for (kind, old, new), count in changes.items()
        )


@torch.fx.wrap
def _refuse_sizes(valid_sizes: Sequence[Grid] | None) -> None:
    if valid_sizes is not None:
        raise ConfigError(
            'valid_sizes are not a part of a graph of torch.fx: give it '
            'images without padding'
        )


@torch.fx.wrap
def _check_image(x: Tensor, channels: int, least: int) -> None:
    if is_recorded():
        # Other sizes are symbols, on which no condition is put.
        for side, size in zip(('height', 'width'), x.shape[2:]):
            fix_traced_size(f'the {side} of the image', size)
        return
    if not isinstance(x, Tensor) or not x.is_floating_point():
        what = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(
            f'the image must be a tensor of floating point, got {what}'
        )
    if x.dim() != 4 or x.shape[1] != channels or min(x.shape[2:]) < least:
        raise ValueError(
            f'the image must have shape (B, {channels}, H, W) with H and '
            f'W of at least {least}, got {tuple(x.shape)}'
        )


def _without_grids(state_dict: dict) -> dict:
    # Published checkpoints do not have them.
    return {k: v for k, v in state_dict.items() if not k.endswith('.grid')}


def _take_backbone_of_classifier(state_dict: dict) -> None:
    """Drop ``backbone.`` from the names, in place."""
    for name in list(state_dict):
        if name.startswith('backbone.'):
            state_dict[name.removeprefix('backbone.')] = state_dict.pop(name)


def _same_memory(one: Tensor, other: Tensor) -> bool:
    # Not by data_ptr() or is_set_to(), which a tensor of the meta device or a
    # fake one does not have.
    storages = (tensor.untyped_storage()._cdata for tensor in (one, other))
    return len(set(storages)) == 1


def _agree(own: object, theirs: object) -> bool:
    """Whether arguments are equal, on the levels that both have."""
    if isinstance(own, dict) and isinstance(theirs, dict):
        return all(own[i] == theirs[i] for i in own if i in theirs)
    return own == theirs


def _shown(argument: object) -> object:
    if not isinstance(argument, dict):
        return argument
    return [argument[level] for level in sorted(argument)]


def first_few(names: Iterable[str]) -> str:
    """The first three, and how many there are; ``'none'`` for none."""
    names = list(names)
    more = f', ... ({len(names)} in all)' if len(names) > 3 else ''
    return ', '.join(names[:3]) + more or 'none'


def _resolve_out_indices(
    out_indices: int | Sequence[int], num_levels: int
) -> tuple[int, ...]:
    indices = (
        tuple(out_indices)
        if isinstance(out_indices, (list, tuple))
        else (out_indices,)
    )
    for i in indices:
        require_whole_number('out_indices', i, -num_levels)
    resolved = tuple(i + num_levels if i < 0 else i for i in indices)
    if not indices or max(resolved) >= num_levels:
        raise ConfigError(
            f'out_indices={indices} is out of range: choose from 0 to '
            f'{num_levels - 1}, or from -{num_levels} to -1 counted from the '
            'end'
        )
    if list(resolved) != sorted(set(resolved)):
        raise ConfigError(
            f'out_indices={indices} must be ascending and without repetition'
        )
    return resolved


def drop_path_rates(rate: float, num_blocks: int) -> list[float]:
    """Stochastic depth growing linearly from 0 to ``rate`` over blocks."""
    if not isinstance(rate, (int, float)) or not 0 <= rate < 1:
        raise ConfigError(
            f'drop_path_rate must be a number from 0 to below 1, got {rate!r}'
        )
    return [rate * i / max(1, num_blocks - 1) for i in range(num_blocks)]
