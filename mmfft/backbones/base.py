# Copyright (c) mmfft authors. All rights reserved.
from collections.abc import Sequence

import torch.utils.checkpoint as checkpoint
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..errors import ConfigError
from ..mixers import GridParameter
from ..ops.spectral import Grid


class FourierBackbone(BaseModule):
    """What the Fourier backbones share: arguments, freezing, checkpointing.

    A subclass has ``arch_zoo`` and builds its layers after calling this
    constructor, then calls :meth:`_freeze_stages`.

    Args:
        arch (str | dict): A name in ``arch_zoo`` or a dict with its keys.
        img_size (int | tuple[int, int]): Input size ``(H, W)`` that the
            filters are stored for. Other inputs work too.
        out_indices (int | Sequence[int]): Levels to return, ascending,
            negative ones counted from the end.
        frozen_stages (int): -1 freezes nothing, 0 the stem, k the stem and
            the first k stages.
        with_cp (bool): Recompute each block in the backward pass instead of
            keeping its activations.
        init_cfg (dict | list[dict], optional): mmengine's initialization.

    Raises:
        ConfigError: If an argument is out of its range.
    """

    arch_zoo: dict[str, dict] = {}

    def __init__(
        self,
        arch: str | dict,
        img_size: int | Grid,
        out_indices: int | Sequence[int],
        frozen_stages: int,
        with_cp: bool,
        init_cfg: dict | list[dict] | None,
    ):
        super().__init__(init_cfg=init_cfg)
        self.arch = self._resolve_arch(arch)
        self.img_size = _resolve_img_size(img_size)
        self.out_indices = _resolve_out_indices(out_indices, self.num_levels)
        if not -1 <= frozen_stages <= self.num_levels:
            raise ConfigError(
                f'frozen_stages={frozen_stages} is out of range: choose -1 '
                '(nothing frozen), 0 (the stem) to '
                f'{self.num_levels} (everything)'
            )
        self.frozen_stages = frozen_stages
        self.with_cp = with_cp

    @property
    def num_levels(self) -> int:
        """Levels whose outputs ``out_indices`` can name."""
        raise NotImplementedError

    @classmethod
    def _resolve_arch(cls, arch: str | dict) -> dict:
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
        return arch

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        if self.with_cp and x.requires_grad:
            return checkpoint.checkpoint(block, x, use_reentrant=False)
        return block(x)

    def _frozen_modules(self) -> list[nn.Module]:
        """Modules without gradient under ``frozen_stages``."""
        raise NotImplementedError

    def _freeze_stages(self) -> None:
        if self.frozen_stages < 0:
            return
        for module in self._frozen_modules():
            module.eval()
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> 'FourierBackbone':
        super().train(mode)
        self._freeze_stages()
        return self

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        """Report what changes its grid on the way in."""
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        resized = {}
        for name, module in self.named_modules():
            if isinstance(module, GridParameter):
                grid = module.incoming_grid(state_dict, f'{prefix}{name}.')
                if grid is not None and grid != module.size:
                    change = (type(module).__name__, grid, module.size)
                    resized[change] = resized.get(change, 0) + 1
        if resized:
            changes = ', '.join(
                f'{count} {kind} from {old[0]}x{old[1]} to {new[0]}x{new[1]}'
                for (kind, old, new), count in resized.items()
            )
            print_log(
                f'{type(self).__name__}: resized on load: {changes}',
                logger='current',
            )


def _resolve_img_size(img_size: int | Grid) -> Grid:
    size = (img_size,) * 2 if isinstance(img_size, int) else tuple(img_size)
    if len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
        raise ConfigError(
            'img_size must be a positive int or (height, width) '
            f'of positive ints, got {img_size!r}'
        )
    return size


def _resolve_out_indices(
    out_indices: int | Sequence[int], num_levels: int
) -> tuple[int, ...]:
    indices = (
        (out_indices,) if isinstance(out_indices, int) else tuple(out_indices)
    )
    resolved = tuple(i + num_levels if i < 0 else i for i in indices)
    if not indices or not all(0 <= i < num_levels for i in resolved):
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
    return [rate * i / max(1, num_blocks - 1) for i in range(num_blocks)]
