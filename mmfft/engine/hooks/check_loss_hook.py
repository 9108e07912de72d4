# Copyright (c) mmfft authors. All rights reserved.
import math
from pathlib import Path

import torch
from mmengine.hooks import Hook

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
    Gradients that overflow under mixed precision leave the loss finite and
    are left to the loss scaler.
    """

    priority = 'HIGH'

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
            InvalidLossError: If a loss is not finite.
        """
        losses = {
            name: torch.as_tensor(value).item()
            for name, value in outputs.items()
            if 'loss' in name
        }
        if all(map(math.isfinite, losses.values())):
            return
        values = ', '.join(f'{k}={v:.4g}' for k, v in losses.items())
        samples = data_batch.get('data_samples') or ()
        paths = [str(getattr(s, 'img_path', 'unnamed')) for s in samples]
        good = last_finite_checkpoint(runner.work_dir)
        raise InvalidLossError(
            f'the loss of step {runner.iter + 1} is not finite ({values}).\n'
            f'Images of the batch: {", ".join(paths) or "unnamed"}\n'
            + (
                f'Last checkpoint with finite weights: {good}'
                if good
                else f'No checkpoint with finite weights in {runner.work_dir}'
            )
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
