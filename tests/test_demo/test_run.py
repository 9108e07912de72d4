# Copyright (c) mmfft authors. All rights reserved.
"""Which commands demo/run.py runs, from which folder; none of them runs."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT
from mmengine.config import Config
from mmengine.fileio import dump

from mmfft.datasets.paths import leaf_datasets
from mmfft.demo.report import METRICS


@pytest.fixture
def demo(monkeypatch):
    """The module, and the commands that it would have run."""
    spec = importlib.util.spec_from_file_location(
        'demo', ROOT / 'demo' / 'run.py'
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    calls = []

    def run(command):
        python, tool, *arguments = command
        assert python == sys.executable
        # As seen from the folder that the demo runs in.
        assert Path(tool).is_file()
        calls.append((tool, arguments))
        if '--work-dir' in arguments:
            assert Path(arguments[0]).is_file()
            work_dir = Path(arguments[arguments.index('--work-dir') + 1])
            work_dir.mkdir(parents=True, exist_ok=True)
            (work_dir / 'last_checkpoint').write_text(f'{work_dir}/x.pth')
            metrics = {key: 0.5 for _, key, _ in METRICS.values()}
            dump(metrics, work_dir / 'metrics.json')
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(module.subprocess, 'run', run)
    monkeypatch.setattr(module, 'report', lambda: None)
    module.calls = calls
    return module


def test_from_a_folder_without_a_checkout(demo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['run.py', 'all'])
    demo.main()
    tools = [Path(tool).relative_to(ROOT) for tool, _ in demo.calls]
    assert [tool.stem for tool in tools] == [
        'digit_scenes', 'train', 'test', 'train', 'test', 'train', 'test'
    ]  # fmt: skip
    assert (tmp_path / 'work_dirs' / 'demo' / 'results.json').is_file()
    for part in demo.CONFIGS:
        cfg = Config.fromfile(demo.config_of(part))
        # Where the demo's data is made.
        for dataset in leaf_datasets(cfg.train_dataloader.dataset):
            data = tmp_path / 'data' / 'digit_scenes'
            assert Path(dataset['data_root']).absolute().is_relative_to(data)
        # Where its first part has trained.
        start = cfg.get('checkpoint')
        assert (start is None) == (part == 'cls')
        assert start is None or Path(start).parent == demo.WORK_DIR / 'cls'


def test_in_the_checkout_commands_are_short(demo, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    demo.run('tools/train.py', demo.config_of('cls'), 'a b')
    assert capsys.readouterr().out.strip() == (
        f"$ python tools/train.py configs/demo/{demo.CONFIGS['cls']} 'a b'"
    )
