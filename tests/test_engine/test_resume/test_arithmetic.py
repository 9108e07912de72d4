# Copyright (c) mmfft authors. All rights reserved.
"""A resumed run that cannot have the same numbers says so."""

import pytest
import torch
from tiny_runs import EPOCHS, PER_EPOCH, loader, runner_of, warnings_of

pytestmark = pytest.mark.usefixtures('quick_runs')


@pytest.fixture
def restored_threads():
    before = torch.get_num_threads()
    yield before
    torch.set_num_threads(before)


def run(folder, epochs, resume=False):
    runner = runner_of(
        folder,
        dict(EPOCHS, max_epochs=epochs),
        loader(),
        f'{folder}-{epochs}',
        custom_hooks=[dict(type='mmfft.ExactResumeHook')],
        resume=resume,
    )
    return warnings_of(runner)


def test_another_number_of_threads(tmp_path, restored_threads):
    run(tmp_path, 1)
    assert 'threads' not in run(tmp_path, 2, resume=True)
    torch.set_num_threads(restored_threads + 1)
    warned = run(tmp_path, 3, resume=True)
    assert f'threads {restored_threads} -> {restored_threads + 1}' in warned
    assert f'set OMP_NUM_THREADS={restored_threads}' in warned


def test_another_machine(tmp_path, monkeypatch):
    run(tmp_path, 1)
    file = tmp_path / f'iter_{PER_EPOCH}.pth'
    checkpoint = torch.load(file, weights_only=False)
    recorded = checkpoint['meta']['place_in_the_data']['arithmetic']
    recorded.update(processes=8, PyTorch='1.13.0')
    torch.save(checkpoint, file)
    warned = run(tmp_path, 2, resume=True)
    assert 'processes 8 -> 1: a step has another number of images' in warned
    assert f'PyTorch 1.13.0 -> {torch.__version__}: sums' in warned
