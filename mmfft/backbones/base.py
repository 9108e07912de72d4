# Copyright (c) mmfft authors. All rights reserved.
import copy
import warnings
from collections.abc import Sequence

from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor

from .. import models
from ..errors import ConfigError, require_whole_number
from ..openmmlab.valid_sizes import read_valid_sizes
from ..ops.spectrum import Grid


class FourierBackbone(models.FourierBackbone, BaseModule):
    """What mmengine and the toolboxes expect of a backbone.

    The first base of a registered class; one of :mod:`mmfft.models` is the
    second.

    Args:
        *args: Positional arguments of the model.
        frozen_stages (int): -1 freezes nothing, 0 the stem with the position
            embedding, k these and the first k levels. Defaults to -1.
        norm_eval (bool): Taken for configs that pass it to any backbone, with
            a warning: norms of this family have no running statistics to keep
            still. Defaults to False.
        init_cfg (dict | list[dict], optional): mmengine's initialization,
            instead of what ``init`` says. Defaults to ``init``.
        **kwargs: Other arguments of the model.

    Raises:
        ConfigError: If an argument is out of its range.
    """

    def __init__(
        self,
        *args,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        init_cfg: dict | list[dict] | None = None,
        **kwargs,
    ):
        super().__init__(*args, **kwargs)
        if init_cfg is None:
            init_cfg = self._init_cfg_of()
        self.init_cfg = copy.deepcopy(init_cfg)
        if norm_eval:
            warnings.warn(
                f'norm_eval=True changes nothing in {type(self).__name__}: '
                'its norms have no running statistics',
                stacklevel=2,
            )
        require_whole_number('frozen_stages', frozen_stages, -1)
        if frozen_stages > self.num_levels:
            raise ConfigError(
                f'frozen_stages={frozen_stages} is out of range: choose -1 '
                '(nothing frozen), 0 (the stem) to '
                f'{self.num_levels} (everything)'
            )
        self.frozen_stages = frozen_stages
        self._freeze_stages()

    def _start(self) -> None:
        """Nothing: ``init_weights`` does it, by ``init_cfg``."""

    def _init_cfg_of(self) -> dict:
        if self.init == 'unit_variance':
            return dict(type='mmfft.UnitVariance')
        layers = self.truncated_normal_layers
        return dict(
            type='TruncNormal',
            layer=[layer.__name__ for layer in layers],
            std=0.02,
            bias=0.0,
        )

    def _adapts_stem(self) -> bool:
        # The second while init_weights() of this or of a whole model runs:
        # what is loaded then is a start for training.
        return self.adapt_stem or hasattr(self, '_params_init_info')

    def _log(self, message: str, level: int) -> None:
        print_log(message, logger='current', level=level)

    def forward(
        self, x: Tensor, valid_sizes: Sequence[Grid] | None = None
    ) -> tuple[Tensor, ...]:
        """Image to features, see the model.

        Args:
            x (Tensor): Shape ``(B, in_channels, H, W)``.
            valid_sizes (Sequence[tuple[int, int]], optional): ``(h, w)`` of
                each image. Defaults to what one of
                :mod:`mmfft.data_preprocessors` has given the batch; otherwise
                to the whole ``(H, W)``.

        Returns:
            tuple[Tensor]: One contiguous ``(B, C, H, W)`` for each of
            ``out_indices``.
        """
        if valid_sizes is None:
            valid_sizes = read_valid_sizes(x)
        return super().forward(x, valid_sizes)

    def _freeze_stages(self) -> None:
        if self.frozen_stages < 0:
            return
        for module in self.first_modules(self.frozen_stages):
            module.eval()
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> 'FourierBackbone':
        """Set the mode; what is frozen stays in evaluation mode."""
        super().train(mode)
        self._freeze_stages()
        return self
