# Copyright (c) mmfft authors. All rights reserved.
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import torch
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper

from ...checkpoints import read_file
from ...errors import ConfigError
from ...registry import HOOKS


class InvalidLossError(ConfigError):
    """A loss is not finite; the message names the images and a checkpoint."""


@HOOKS.register_module()
class CheckLossHook(Hook):
    """Stop when a loss is NaN or infinite.

    mmdet has a ``CheckInvalidLossHook`` in its own scope, which checks only
    every 50th step by default, and after checkpoints may have been written.
    This hook checks every step, before anything is saved or averaged, and
    names the images of the batch and the last checkpoint with finite weights.
    It waits for a GPU once a step.

    Under mixed precision, gradients that overflow leave the loss finite and
    are left to the loss scaler. So is a loss that overflows itself, in the
    forward pass in float16, which does not depend on the scale: the scaler
    leaves out the step, and the next batch may be finite. It is logged as a
    warning, and training goes on if all of this is so:

    - ``AmpOptimWrapper`` scales dynamically, and left out the step. A loss
      can be infinite while its gradients are finite (an L1 loss with an
      infinite target), and then the step was taken.
    - All weights and buffers are finite. The scaler does not protect the
      statistics of a BatchNorm, which a forward pass changes.
    - The scale is at least 1. Each step left out halves it, from 65,536 at
      the start: after 17 in a row the scale is not what is wrong.

    With accumulated gradients this is decided at the step that they are for.
    """

    priority = 'HIGH'

    def __init__(self) -> None:
        self._found: str | None = None

    def after_train_iter(
        self, runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Check the losses of a step.

        Args:
            runner (Runner): Runner of the training.
            batch_idx (int): Not used.
            data_batch (dict): Batch with ``data_samples`` of a toolbox.
            outputs (dict): Losses by name.

        Raises:
            InvalidLossError: If a loss is not finite and the loss scaler did
                not deal with it.
        """
        losses = {k: v for k, v in outputs.items() if 'loss' in k}
        if self._found is None and not _all_finite(losses.values()):
            self._found = _describe(runner.iter + 1, losses, data_batch)
        if self._found is None:
            return
        wrapper = getattr(runner, 'optim_wrapper', None)
        is_scaled = hasattr(wrapper, 'loss_scaler')
        if is_scaled and not wrapper.should_update():
            return
        found, self._found = self._found, None
        if is_scaled and _left_out_by_scaler(wrapper, runner.model):
            runner.logger.warning(f'{found}\nThe loss scaler left it out.')
            return
        good = last_finite_checkpoint(runner.work_dir)
        raise InvalidLossError(
            f'{found}\n'
            + (
                f'Last checkpoint with finite weights: {good}'
                if good
                else f'No checkpoint with finite weights in {runner.work_dir}'
            )
        )


def _all_finite(values: Iterable[torch.Tensor | float]) -> bool:
    """Whether all are, read from each device once."""
    by_device = defaultdict(list)
    for value in map(torch.as_tensor, values):
        by_device[value.device].append(value.isfinite().all())
    return all(torch.stack(flags).all() for flags in by_device.values())


def _describe(step: int, losses: dict, data_batch: dict) -> str:
    numbers = {k: torch.as_tensor(v).item() for k, v in losses.items()}
    values = ', '.join(f'{k}={v:.4g}' for k, v in numbers.items())
    samples = data_batch.get('data_samples') or ()
    paths = [str(getattr(s, 'img_path', 'unnamed')) for s in samples]
    return (
        f'the loss of step {step} is not finite ({values}).\n'
        f'Images of the batch: {", ".join(paths) or "unnamed"}'
    )


def _left_out_by_scaler(
    wrapper: AmpOptimWrapper, model: torch.nn.Module
) -> bool:
    """Whether the last step was left out, without a trace, and may be."""
    state = wrapper.loss_scaler.state_dict()
    if not state or wrapper._scale_update_param is not None:
        # Without a scale that changes there is no telling.
        return False
    return (
        # The number of steps taken since the last one that was left out.
        state['_growth_tracker'] == 0
        and state['scale'] >= 1
        and _all_finite(chain(model.parameters(), model.buffers()))
    )


def last_finite_checkpoint(folder: str | Path) -> Path | None:
    """Find the newest complete checkpoint of a run with finite weights.

    Args:
        folder (str | Path): Work directory of the run.

    Returns:
        Path | None: Path of the checkpoint, or None if there is none.
    """
    files = Path(folder).glob('*.pth')
    for file in sorted(files, key=lambda f: f.stat().st_mtime, reverse=True):
        try:
            weights = read_file(str(file), map_location='cpu')['state_dict']
        except (ConfigError, KeyError):
            continue
        if all(torch.isfinite(weight).all() for weight in weights.values()):
            return file
    return None
