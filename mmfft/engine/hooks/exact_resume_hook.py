# Copyright (c) mmfft authors. All rights reserved.
"""Make a resumed run take exactly the steps of an uninterrupted one."""

import random
from collections.abc import Iterator, Sequence
from itertools import count, islice

import numpy as np
import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import (
    EpochBasedTrainLoop,
    IterBasedTrainLoop,
    find_latest_checkpoint,
)
from torch.utils.data import DataLoader

from ...registry import HOOKS
from ..resume import (
    Settings,
    accumulates,
    arithmetic,
    can_keep,
    changed_arithmetic,
    check_fit,
    comparable,
    decide,
    end_of_schedules,
    frozen_names,
    place_in_training,
    prepare_gradients,
    restore_gradients,
    save_gradients,
    saved_settings,
    undecided,
)

_PLACE = 'place_in_the_data'
# Must not begin with 'val': such names are logged as results.
_VALIDATED = 'last_validation_at'


def seed_all(*key: int, devices: bool = True) -> None:
    """Seed Python's, numpy's and torch's default generators.

    Args:
        *key (int): Non-negative numbers; different keys give unrelated random
            numbers.
        devices (bool): Whether to seed torch's generators of GPUs, too.
            Defaults to True.
    """
    words = np.random.SeedSequence(key).generate_state(4, np.uint64)
    random.seed(int(words[0]))
    np.random.seed(words[1:3].view(np.uint32))
    seed = (
        torch.manual_seed if devices else torch.default_generator.manual_seed
    )
    seed(int(words[3] >> np.uint64(1)))


class SeededBatch:
    """Indices of a batch that seed the random numbers of its samples.

    A data loader iterates over them in the process that loads the batch,
    whichever worker that is: the random numbers of augmentation become a
    function of the batch's position in the training.

    Args:
        indices (Sequence[int]): Indices of the samples.
        key (tuple[int, ...]): Key of the batch, see :func:`seed_all`.
    """

    def __init__(self, indices: Sequence[int], key: tuple[int, ...]) -> None:
        self.indices = indices
        self.key = key

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        for place, index in enumerate(self.indices):
            # Seeding takes 100 microseconds, most of them for unused GPUs.
            seed_all(*self.key, place, devices=False)
            yield index


class PlacedBatches:
    """A batch sampler that starts at any iteration.

    Batches before it are drawn and dropped as indices: no data is loaded.

    Args:
        batches (Sampler): Batch sampler that this one replaces.
        loop (EpochBasedTrainLoop | IterBasedTrainLoop): Loop that trains.
        seed (int): Seed of the run.
        skip (int): Number of batches that the first pass leaves out: of an
            epoch, or of the whole training if it counts iterations.
    """

    def __init__(self, batches, loop, seed: int, skip: int) -> None:
        self.batches = batches
        self.loop = loop
        self.key = (seed, get_rank())
        self.skip = skip

    def __len__(self) -> int:
        return len(self.batches)

    def __getattr__(self, name: str):
        return getattr(self.batches, name)

    def __iter__(self) -> Iterator[SeededBatch]:
        iteration, skip = self.loop.iter, self.skip
        self.skip = 0
        for indices in islice(self._passes(), skip, None):
            yield SeededBatch(indices, (*self.key, iteration))
            iteration += 1

    def _passes(self) -> Iterator[Sequence[int]]:
        for epoch in count(1):
            indices = None
            for indices in self.batches:
                yield indices
            # Training by iterations does not end with the data.
            by_epoch = not isinstance(self.loop, IterBasedTrainLoop)
            if by_epoch or indices is None:
                return
            if hasattr(self.batches.sampler, 'set_epoch'):
                self.batches.sampler.set_epoch(epoch)


class _Placed:
    """The data of an ``IterBasedTrainLoop``, already at its position.

    The loop advances its data by the iterations that are done, with
    ``skip_iter`` or, in mmengine 0.10.7, by loading and dropping batches:
    here these steps are only counted.
    """

    def __init__(self, dataloader: DataLoader, done: int) -> None:
        self.dataloader = dataloader
        self.advance = done
        self.batches = None

    def skip_iter(self, iterations: int) -> None:
        self.advance -= iterations

    def __iter__(self):
        return self

    def __next__(self):
        if self.advance > 0:
            self.advance -= 1
            return None
        if self.batches is None:
            self.batches = iter(self.dataloader)
        return next(self.batches)


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Make a resumed run equal to an uninterrupted one.

    mmengine restores weights, optimizer, schedules, averaged weights and
    logs. It does not restore random numbers (augmentation, dropout, sampled
    boxes), the order of the data if the config fixes no seed, the position
    within an epoch, or a validation that was cut short.

    With this hook all random numbers are functions of the seed, the process,
    the iteration and the position in the batch, whether or not workers load
    the data; only the seed of the sampler and the position in the epoch need
    to be stored, and the gradients if they are accumulated and the optimizer
    has not yet taken its step. Not covered are data sets and transforms that
    remember earlier samples (mmdet's ``CachedMosaic``), and a different number
    of processes or of threads, of which the log warns.

    A checkpoint that is of another model, or whose optimizer is another, is
    rejected with what differs. Schedules and settings of the optimizer that
    changed in the config since the checkpoint was saved are followed from
    there on, and the log says which: mmengine would keep the old ones.
    """

    # Last, so that CheckpointHook is ready when a validation finds a new best.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._seed = None
        self._resumed = None
        self._began = None
        self._recorded = {}
        self._settings = self._before = None

    def before_run(self, runner) -> None:
        """Remember the seed and the settings of the run.

        Args:
            runner (Runner): Runner that is about to load or resume.
        """
        self._seed = runner.seed
        if undecided(runner):
            # The checkpoint hook is not ours.
            decide(
                runner, lambda: (find_latest_checkpoint(runner.work_dir), [])
            )
        if comparable(runner):
            self._settings = Settings(runner)
            self._recorded = dict(
                by_epoch=isinstance(runner.train_loop, EpochBasedTrainLoop),
                frozen=frozen_names(runner),
                settings=self._settings.plain,
            )
            # A new list, as the present one is being iterated over.
            runner._hooks = [_BeforeOthers(self), *runner._hooks]

    def check(self, runner, checkpoint: dict) -> None:
        """Check that the run can continue from a checkpoint, before it does.

        Args:
            runner (Runner): Runner that is about to resume.
            checkpoint (dict): Checkpoint as read from the file.

        Raises:
            ConfigError: If it cannot.
        """
        recorded = checkpoint.get('meta', {}).get(_PLACE, {})
        check_fit(runner, checkpoint, recorded)
        hub = checkpoint['message_hub'].get('runtime_info', {})
        self._before = dict(
            settings=saved_settings(checkpoint, recorded.get('settings')),
            gradients=prepare_gradients(runner, checkpoint),
            max_epochs=hub.get('max_epochs'),
            max_iters=hub.get('max_iters'),
        )

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Remember the checkpoint's position in the data."""
        if runner._resume:
            self._resumed = checkpoint['meta'].get(_PLACE, {})

    def before_train(self, runner) -> None:
        """Advance the data; repeat a validation that was cut short.

        Args:
            runner (Runner): Runner that has loaded its checkpoint.
        """
        resumed = self._resumed or {}
        for warning in changed_arithmetic(resumed.get('arithmetic', {})):
            runner.logger.warning(warning)
        skip = self._batches_done(runner, resumed)
        if accumulates(runner) and not can_keep(runner):
            runner.logger.warning(
                'Gradients are accumulated, but not kept in the checkpoints '
                'of this kind of runner, optimizer or model wrapper: make '
                'their interval a multiple of '
                'optim_wrapper.accumulative_counts'
            )
        if self._before is not None:
            self._continue(runner, skip)
        self._advance(runner, resumed, skip)

    def _continue(self, runner, skip: int) -> None:
        """Restore gradients, follow the config, say if nothing is left."""
        loop, before = runner.train_loop, self._before
        done = place_in_training(loop, skip)
        restore_gradients(runner, before['gradients'], done[0])
        self._settings.apply(runner, before['settings'], done)
        by_epoch = isinstance(loop, EpochBasedTrainLoop)
        key = 'max_epochs' if by_epoch else 'max_iters'
        reached, end = (
            (loop.epoch, loop.max_epochs)
            if by_epoch
            else (loop.iter, loop.max_iters)
        )
        stays = end_of_schedules(runner, done)
        if reached >= end:
            runner.logger.warning(
                f'Nothing is left to train: {reached} of '
                f'train_cfg.{key}={end} are done. To train longer, increase '
                'it, and the end of the schedules with it'
            )
        elif stays and before[key] not in (None, end):
            runner.logger.warning(
                f'train_cfg.{key} was {before[key]} and is {end}, but the '
                f'schedules of the config have ended: {stays} to the end'
            )
        self._before = None

    def _advance(self, runner, resumed: dict, skip: int) -> None:
        loop = runner.train_loop
        dataloader = loop.dataloader
        known = isinstance(loop, (EpochBasedTrainLoop, IterBasedTrainLoop))
        if not known or dataloader.batch_sampler is None:
            runner.logger.warning(
                f'{type(loop).__name__} and its data resume as they would '
                'without this hook, not exactly'
            )
            return
        sampler = dataloader.batch_sampler.sampler
        if 'sampler_seed' in resumed:
            sampler.seed = resumed['sampler_seed']
        if isinstance(sampler, InfiniteSampler):
            # Its stream would continue where it is, and may have begun.
            sampler.indices = sampler._indices_of_rank()
        # The same in all processes, while the run's seed may differ.
        self._seed = getattr(sampler, 'seed', runner.seed)
        batches = PlacedBatches(
            dataloader.batch_sampler, loop, self._seed, skip
        )
        # A DataLoader does not allow a change of its sampler, since workers
        # may be running; those that are running are dropped.
        object.__setattr__(dataloader, 'batch_sampler', batches)
        dataloader._iterator = None
        if isinstance(loop, IterBasedTrainLoop):
            advances = not getattr(loop, 'fast_forward_on_resume', False)
            loop.dataloader_iterator = _Placed(
                dataloader, loop.iter if advances else 0
            )
        elif skip:
            _count_from(loop, skip)
        if self._resumed and _validation_is_due(runner, skip):
            runner.logger.info('The run ended before its validation did')
            # Their values after an iteration, before the next one begins.
            runner.message_hub.update_info('iter', loop.iter - 1)
            if isinstance(loop, EpochBasedTrainLoop):
                runner.message_hub.update_info('epoch', loop.epoch - 1)
            runner.val_loop.run()

    def _batches_done(self, runner, resumed: dict) -> int:
        loop = runner.train_loop
        if isinstance(loop, IterBasedTrainLoop):
            return loop.iter
        done = resumed.get('batches_of_epoch', 0)
        if done and resumed['batches'] != len(loop.dataloader):
            runner.logger.warning(
                f'epoch {loop.epoch + 1} starts over: it had '
                f'{resumed["batches"]} batches when the checkpoint was saved '
                f'and has {len(loop.dataloader)} now'
            )
            return 0
        return done

    def before_train_epoch(self, runner) -> None:
        """Remember at which iteration the epoch begins."""
        batches = runner.train_loop.dataloader.batch_sampler
        self._began = runner.iter - getattr(batches, 'skip', 0)

    def before_train_iter(self, runner, batch_idx: int, data_batch=None):
        """Seed the random numbers of the model for this iteration."""
        seed_all(self._seed, get_rank(), runner.iter)

    def before_val_epoch(self, runner) -> None:
        """Seed, and note the validation for the checkpoints saved after it."""
        seed_all(self._seed, get_rank(), runner.iter)
        runner.message_hub.update_info(_VALIDATED, runner.iter)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Save the position in the data, settings and gradients."""
        loop, meta = runner.train_loop, checkpoint['meta']
        batches = loop.dataloader.batch_sampler
        save_gradients(runner, checkpoint)
        place = dict(
            self._recorded,
            arithmetic=arithmetic(),
            batches=len(loop.dataloader),
            batches_of_epoch=0,
        )
        seed = getattr(getattr(batches, 'sampler', None), 'seed', None)
        if seed is not None:
            place['sampler_seed'] = seed
        # At the end of an epoch, the checkpoint's meta counts it as done.
        if self._began is not None and meta['epoch'] == runner.epoch:
            place['batches_of_epoch'] = meta['iter'] - self._began
        meta[_PLACE] = place

    def after_train_epoch(self, runner) -> None:
        """Leave the epoch: what is saved from now on is not within it."""
        self._began = None


class _BeforeOthers(Hook):
    """Checks a checkpoint before other hooks and the model load it.

    Args:
        hook (ExactResumeHook): Hook that comes last itself.
    """

    priority = 'HIGHEST'

    def __init__(self, hook: ExactResumeHook) -> None:
        self.hook = hook

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Check it if the run resumes; later ones are loaded by others."""
        if runner._resume and not runner._has_loaded:
            self.hook.check(runner, checkpoint)


def _count_from(loop: EpochBasedTrainLoop, skip: int) -> None:
    """Make the first epoch count its batches from ``skip`` instead of 0."""
    run_iter, epoch = loop.run_iter, loop.epoch

    def run_placed_iter(idx, data_batch):
        run_iter(idx + skip * (loop.epoch == epoch), data_batch)

    loop.run_iter = run_placed_iter


def _validation_is_due(runner, skip: int) -> bool:
    loop = runner.train_loop
    if runner._val_loop is None or loop.iter == 0:
        return False
    loop._decide_current_val_interval()
    if isinstance(loop, IterBasedTrainLoop):
        done, end = loop.iter, loop.max_iters
    else:
        if skip:
            return False
        done, end = loop.epoch, loop.max_epochs
    return (
        done >= loop.val_begin
        and (done % loop.val_interval == 0 or done == end)
        and runner.message_hub.runtime_info.get(_VALIDATED) != loop.iter
    )
