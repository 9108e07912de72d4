# Copyright (c) mmfft authors. All rights reserved.
from collections.abc import Sequence

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from ...errors import require_whole_number
from ...registry import HOOKS


@HOOKS.register_module()
class FilterVisHook(Hook):
    """Send pictures of the filters to the visualizer while a model trains.

    The picture of ``tools/analysis_tools/visualize_filters.py`` goes to all
    backends of the config's visualizer (local files, TensorBoard, WandB) under
    the name ``filters``: once before training and then every ``interval``.

    Args:
        interval (int): Epochs or iterations between pictures. Defaults to 1.
        by_epoch (bool): Whether to count epochs, not iterations. Defaults to
            True.
        layers (Sequence[str]): Layers to draw, see
            :func:`mmfft.visualization.filters.filter_layers`. Defaults to
            four, evenly spaced through the depth.
        channels (int | Sequence[int]): Channels to draw, see
            :func:`mmfft.visualization.filters.draw_filters`. Defaults to 6.
        image (str, optional): Path of an image, loaded as for the config's
            test, to draw the filters that are generated for it. Defaults to
            none.

    Raises:
        ConfigError: If ``interval`` is not positive.
    """

    priority = 'LOW'

    def __init__(
        self,
        interval: int = 1,
        by_epoch: bool = True,
        layers: Sequence[str] = (),
        channels: int | Sequence[int] = 6,
        image: str | None = None,
    ):
        require_whole_number('interval', interval, 1)
        self.interval = interval
        self.by_epoch = by_epoch
        self.layers = layers
        self.channels = channels
        self.image = image

    def before_train(self, runner) -> None:
        # So that a wrong layer or image is reported now, not after an epoch.
        done = runner.epoch if self.by_epoch else runner.iter
        self._add_picture(runner, done)

    def after_train_epoch(self, runner) -> None:
        if self.by_epoch and self.every_n_epochs(runner, self.interval):
            self._add_picture(runner, runner.epoch + 1)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        if not self.by_epoch and self.every_n_train_iters(
            runner, self.interval
        ):
            self._add_picture(runner, runner.iter + 1)

    @master_only
    def _add_picture(self, runner, step: int) -> None:
        # Matplotlib is imported only if pictures are wanted.
        from ...visualization.filters import (
            draw_filters,
            read_filters,
            see_image,
        )

        model = runner.model
        while is_model_wrapper(model):
            model = model.module
        seen = see_image(model, runner.cfg, self.image) if self.image else None
        picture = draw_filters(
            read_filters(model, self.layers, seen),
            self.channels,
            seen.image if seen else None,
        )
        runner.visualizer.add_image('filters', picture, step)
