# Copyright (c) mmfft authors. All rights reserved.
"""Which commands demo/run.py runs, from which folder; none of them runs."""

import importlib.util
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT
from mmengine.config import Config
from mmengine.fileio import dump

from mmfft.datasets.paths import leaf_datasets
from mmfft.demo import CONFIGS
from mmfft.demo.jobs import CommandFailed
from mmfft.demo.parts import Demo
from mmfft.demo.report import METRICS
from mmfft.engine.console import Terminated


@pytest.fixture
def demo(monkeypatch):
    """The module, and the commands that it would have run, by stage."""
    spec = importlib.util.spec_from_file_location(
        'demo', ROOT / 'demo' / 'run.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    stages = []

    def take(command, calls):
        tool, *arguments = command
        # As seen from the folder that the demo runs in.
        assert Path(tool).is_file()
        calls.append((tool, arguments))
        if '--work-dir' in arguments:
            assert Path(arguments[0]).is_file()
            work_dir = Path(arguments[arguments.index('--work-dir') + 1])
            (work_dir / 'last_checkpoint').write_text(f'{work_dir}/x.pth')
            metrics = {key: 0.5 for _, key, _ in METRICS.values()}
            dump(metrics, work_dir / 'metrics.json')

    def run(command):
        python, *command = command
        assert python == sys.executable
        stages.append([])
        take(command, stages[-1])
        return SimpleNamespace(returncode=0)

    def run_jobs(jobs, at_once, keep_open):
        stages.append([])
        for job in jobs:
            for command in job._commands:
                take(command, stages[-1])

    monkeypatch.setattr(module.subprocess, 'run', run)
    monkeypatch.setattr(module, 'run_jobs', run_jobs)
    monkeypatch.setattr(module, 'report', lambda demo: None)
    monkeypatch.setattr(signal, 'signal', lambda number, handler: None)
    module.stages = stages
    return module


def call(module, monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['run.py', *arguments])
    module.main()


# The longer demo has the configs of the other one until it has its own.
@pytest.mark.parametrize('name', ['demo'])
def test_from_a_folder_without_a_checkout(name, demo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    full = ['--full'] * (name == 'demo-full')
    call(demo, monkeypatch, 'all', *full)
    tools = [
        [Path(tool).relative_to(ROOT).stem for tool, _ in stage]
        for stage in demo.stages
    ]
    # Detection and segmentation run at the same time.
    assert tools == [
        ['digit_scenes'],
        ['train', 'test'],
        ['train', 'test', 'train', 'test'],
    ]
    work_dir = Path('work_dirs', name)
    assert (tmp_path / work_dir / 'results.json').is_file()
    whole = Demo(ROOT, name)
    for part in CONFIGS[name]:
        cfg = Config.fromfile(whole.config(part))
        # Where the demo's data is made.
        for dataset in leaf_datasets(cfg.train_dataloader.dataset):
            data = tmp_path / 'data' / 'digit_scenes'
            assert Path(dataset['data_root']).absolute().is_relative_to(data)
        # Where its first part has trained.
        start = cfg.get('checkpoint')
        assert (start is None) == (part == 'cls')
        assert start is None or Path(start).parent == work_dir / 'cls'


def test_in_the_checkout_commands_are_short(monkeypatch):
    monkeypatch.chdir(ROOT)
    demo = Demo(ROOT)
    assert str(demo.from_here('tools/train.py')) == 'tools/train.py'
    assert str(demo.config('cls')) == f'configs/demo/{demo.parts["cls"]}'


@pytest.mark.parametrize(
    'error, status, text',
    [
        (CommandFailed('the command has failed', 7), 7, 'has failed'),
        (
            KeyboardInterrupt(),
            130,
            'run.py: interrupted in work_dirs/demo-full.\n',
        ),
        (Terminated(), 143, 'run.py: terminated in work_dirs/demo-full.\n'),
    ],
)
def test_failures_and_interruptions(
    error, status, text, demo, tmp_path, monkeypatch, capsys
):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, 'run_jobs', fail)
    with pytest.raises(SystemExit) as caught:
        call(demo, monkeypatch, 'seg', '--full')
    assert caught.value.code == status
    message = capsys.readouterr().err
    assert text in message
    if status != 7:
        run = ROOT / 'demo' / 'run.py'
        *_, last = message.splitlines()
        assert last.startswith('Go on with: python ')
        path, *arguments = last.split()[4:]
        assert (tmp_path / path).resolve() == run
        assert arguments == ['seg', '--full']


@pytest.mark.parametrize('name', CONFIGS)
def test_the_end_names_picture_and_page(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location(
        'demo', ROOT / 'demo' / 'run.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn = []
    monkeypatch.setattr(module, 'chance_levels', lambda *args: {})
    monkeypatch.setattr(module, 'results_table', lambda *args: 'the table')
    monkeypatch.setattr(
        module, 'contact_sheet', lambda *args, **kwargs: drawn.append(kwargs)
    )
    demo = Demo(ROOT, name)
    labels = demo.work_dir / 'seg' / 'labels'
    labels.mkdir(parents=True)
    dump(dict(commands=dict(seg=[])), demo.results)
    module.report(demo)
    assert drawn == [dict(labelled=labels)]
    shown = capsys.readouterr().out
    assert 'the table' in shown
    assert f'{demo.work_dir}/contact_sheet.png' in shown
    page = f'python {ROOT}/demo/app.py'
    if name != 'demo':
        page += f' --work-dir {demo.work_dir}'
    assert f'{page} (' in shown
