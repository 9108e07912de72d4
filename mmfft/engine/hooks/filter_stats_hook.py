# Copyright (c) mmfft authors. All rights reserved.
from functools import partial

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import IterBasedTrainLoop
from torch import Tensor, nn

from ...errors import ConfigError, require_whole_number
from ...layers import (
    DynamicFilter,
    HalfSpectrum,
    distance_from_uniform,
)
from ...ops import project_hermitian
from ...ops.spectrum import Grid, column_weights
from ...registry import HOOKS

_START = 'filters_at_start'


@HOOKS.register_module()
class FilterStatsHook(Hook):
    """Log how the filters and their routing change while a model trains.

    Two numbers for each layer go to all backends of the config's visualizer,
    not to the console:

    - ``routing/<layer>``, of dynamic filters only: how far the routing of a
      training batch is from uniform. With weights ``w`` of ``N`` basis
      filters it is the mean of ``N / (2 (N - 1)) * sum_n |w_n - 1 / N|``
      over images and channels. It is 0 if all basis filters have the same
      weight and 1 if each channel uses only one. Near 0 it is proportional
      to how far the weights are from ``1 / N``; entropy is quadratic there
      and would show nothing. The batch is that of the main process.
    - ``filter_moved/<layer>``: how much of the energy of the layer's filters
      has moved since the start of the training, ``|w - w0|^2 / |w0|^2`` over
      the whole spectrum. The weights of the start are kept on the CPU and in
      each checkpoint that has a state of the optimizer, so that a resumed run
      continues the curve.

    A layer with a single basis filter has no routing to log. The routing is
    read by a forward hook. ``torch.compile`` leaves such hooks out: the log
    then says so, and only ``filter_moved`` is written. Sharded models (FSDP)
    are not supported.

    Args:
        interval (int): Iterations or epochs between values. Defaults to 100.
        by_epoch (bool): Whether to count epochs, of which the last batch is
            measured, not iterations. Defaults to False.

    Raises:
        ConfigError: If ``interval`` is not positive.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 100, by_epoch: bool = False):
        require_whole_number('interval', interval, 1)
        self.interval = interval
        self.by_epoch = by_epoch
        self._resumed: dict[str, Tensor] | None = None
        self._start: dict[str, Tensor] = {}
        self._filters: dict[str, HalfSpectrum] = {}
        self._dynamic: dict[str, DynamicFilter] = {}
        self._handles: list = []
        self._routings: dict[str, list[Tensor]] = {}

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take the weights of the start from a checkpoint that is resumed.

        Args:
            runner (Runner): Runner that loads.
            checkpoint (dict): Checkpoint as read from the file.
        """
        if runner._resume and not runner._has_loaded:
            self._resumed = checkpoint.get(_START, {})

    def before_train(self, runner) -> None:
        """Find the filters, and the weights that they started from.

        Args:
            runner (Runner): Runner that has loaded its checkpoint.

        Raises:
            ConfigError: If the model has no filter, or epochs are to be
                counted in a training that has none.
        """
        if self.by_epoch and isinstance(runner.train_loop, IterBasedTrainLoop):
            raise ConfigError(
                'by_epoch=True of FilterStatsHook: the training counts '
                'iterations'
            )
        model = runner.model
        while is_model_wrapper(model):
            model = model.module
        self._filters = _layers(model, HalfSpectrum)
        self._dynamic = {
            name: layer
            for name, layer in _layers(model, DynamicFilter).items()
            if layer.num_filters > 1
        }
        if not self._filters:
            raise ConfigError(
                f'FilterStatsHook: {type(model).__name__} has no filter'
            )
        weights = {n: f.weight.detach() for n, f in self._filters.items()}
        resumed, self._resumed = self._resumed, None
        if resumed is not None and not _same_shapes(resumed, weights):
            runner.logger.warning(
                'The checkpoint does not have the filters from the start of '
                'the training: filter_moved counts from here'
            )
            resumed = None
        self._start = {
            name: weight.to('cpu', copy=True)
            for name, weight in (resumed or weights).items()
        }

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Add the weights of the start to a checkpoint to resume from.

        Args:
            runner (Runner): Runner that saves.
            checkpoint (dict): Checkpoint that is changed in place.
        """
        if 'optimizer' in checkpoint:
            checkpoint[_START] = self._start

    @master_only
    def before_train_iter(
        self, runner, batch_idx: int, data_batch=None
    ) -> None:
        """Watch the routing if this iteration is to be logged."""
        if not self._is_due(runner, batch_idx):
            return
        for name, layer in self._dynamic.items():
            note = partial(self._note, name, layer)
            self._handles.append(layer.reweight.register_forward_hook(note))

    @torch.no_grad()
    def _note(
        self, name: str, layer: DynamicFilter, module: nn.Module, args, out
    ) -> None:
        # Once for each size of `valid_sizes`; with activation checkpointing
        # twice, which does not change the mean.
        self._routings.setdefault(name, []).append(
            layer.softmax_over_filters(out.float())
        )

    @master_only
    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Send the values of an iteration to the visualizer."""
        if not self._is_due(runner, batch_idx):
            return
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        routings, self._routings = self._routings, {}
        if self._dynamic and not routings:
            runner.logger.warning(
                'FilterStatsHook cannot see the routing of a compiled model: '
                'only filter_moved is logged'
            )
            self._dynamic = {}
        scalars = {
            f'routing/{name}': distance_from_uniform(torch.cat(parts))
            for name, parts in routings.items()
        }
        for name, layer in self._filters.items():
            scalars[f'filter_moved/{name}'] = _moved(
                layer.weight, self._start[name], layer.size
            )
        # The device is waited for once.
        values = torch.stack(list(scalars.values())).tolist()
        step = runner.epoch if self.by_epoch else runner.iter
        runner.visualizer.add_scalars(dict(zip(scalars, values)), step + 1)

    def _is_due(self, runner, batch_idx: int) -> bool:
        if not self.by_epoch:
            return self.every_n_train_iters(runner, self.interval)
        return self.every_n_epochs(
            runner, self.interval
        ) and self.end_of_epoch(runner.train_dataloader, batch_idx)


def _layers(model: nn.Module, kind: type) -> dict:
    """Layers of a kind, by the names that the curves have."""
    layers = {}
    for name, module in model.named_modules():
        if isinstance(module, kind):
            name = name.removeprefix('backbone.')
            for end in ('.basis', '.filter', '.token_mixer'):
                name = name.removesuffix(end)
            layers[name] = module
    return layers


def _same_shapes(ours: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    return {n: w.shape for n, w in ours.items()} == {
        n: w.shape for n, w in others.items()
    }


@torch.no_grad()
def _moved(weight: Tensor, start: Tensor, grid: Grid) -> Tensor:
    """Energy of the change of some filters over that at the start."""
    start = start.to(weight.device)
    return _energy(weight - start, grid) / _energy(start, grid)


def _energy(filters: Tensor, grid: Grid) -> Tensor:
    filters = project_hermitian(filters.float(), grid)
    by_column = filters.square().sum(dim=(0, 2, 3))
    return by_column @ column_weights(grid[1], filters)
