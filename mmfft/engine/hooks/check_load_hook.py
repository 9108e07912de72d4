# Copyright (c) mmfft authors. All rights reserved.
import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import BaseLoop
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from ...checkpoints import unwrap
from ...errors import ConfigError
from ...openmmlab.weights import load_into, unwrapped
from ...registry import HOOKS


@HOOKS.register_module()
class CheckLoadHook(Hook):
    """Check that a checkpoint fits the model; mmengine loads what does.

    For a test or a validation, and to resume, the checkpoint must have every
    tensor of the model with its shape. ``load_from`` in a training takes what
    fits, with a report of what does not, and brings the stem of a backbone of
    ours to other numbers of channels; it must have something that fits.

    Of a model that is sharded, only the names are compared, and one must fit.

    Args:
        allow_missing (bool): Whether to test with a warning although tensors
            are missing. Defaults to False.
    """

    # Before EMAHook, which loads the same weights into its averaged model.
    priority = 'HIGH'

    def __init__(self, allow_missing: bool = False) -> None:
        self.allow_missing = allow_missing

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Load the weights, and leave mmengine nothing to complain about.

        Args:
            runner (Runner): Runner whose model is about to load the weights.
            checkpoint (dict): Checkpoint as read from the file. Its weights
                become those that the model then has.

        Raises:
            ConfigError: If the checkpoint does not fit.
        """
        model = unwrapped(runner.model)
        weights = unwrap(checkpoint)
        file = getattr(runner, '_load_from', None)
        source = f'checkpoint {file!r}' if file else 'the checkpoint'
        if _is_sharded(model):
            _require_common_names(model, weights)
            return
        resumes = getattr(runner, '_resume', False)
        loop = getattr(runner, '_train_loop', None)
        tunes = isinstance(loop, BaseLoop) and not resumes
        fit = load_into(model, weights, source, adapt_stems=tunes)
        if not fit.taken:
            raise ConfigError(fit.problem(source))
        if tunes:
            level = logging.INFO if fit.complete else logging.WARNING
            print_log(fit.report(f'load_from {file!r}'), 'current', level)
        elif not fit.complete and self.allow_missing and not resumes:
            print_log(
                f'{fit.problem(source)}; tested all the same (--allow-missing)'
                ', with random numbers in what is missing',
                'current',
                logging.WARNING,
            )
        elif not fit.complete:
            advice = (
                'a run resumes with the model that it began with; to train '
                'another one from these weights, give them as load_from'
                if resumes
                else 'to test all the same, with random numbers in what is '
                'missing: --allow-missing'
            )
            raise ConfigError(f'{fit.problem(source)}; {advice}')
        checkpoint['state_dict'] = model.state_dict()


def _is_sharded(model: nn.Module) -> bool:
    return any(
        isinstance(module, FullyShardedDataParallel)
        for module in model.modules()
    )


def _require_common_names(model: nn.Module, names: dict) -> None:
    own = model.state_dict()
    if not any(name.removeprefix('module.') in own for name in names):
        raise ConfigError(
            'nothing in the checkpoint fits the model: it has '
            f'{list(names)[:3]}, the model has {list(own)[:3]}'
        )
