# Copyright (c) mmfft authors. All rights reserved.
import functools
import gc
import importlib
import os
import runpy
import signal
import subprocess
import sys
import threading
import weakref
from http.server import HTTPServer, SimpleHTTPRequestHandler
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
# For benchmarks/ and scripts/. At the end, so that an installed wheel of mmfft
# is tested rather than the checkout.
sys.path.append(str(ROOT))


@pytest.fixture(scope='session', autouse=True)
def exclude_imports_from_garbage_collection():
    """Collect only what was made after the imports of the tests.

    With all libraries imported, a collection takes 0.4 s.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope='session', autouse=True)
def shorten_runners():
    """Leave out or cache what mmengine does for each Runner.

    The versions of compilers take 2 s. A detector's config is formatted four
    times, for 0.4 s each, and each data set collects garbage, for 0.2 s.
    """
    if find_spec('mmengine') is None:  # in the tests of the core
        yield
        return
    from mmengine.dataset import base_dataset
    from mmengine.runner import runner
    from yapf.yapflib import yapf_api

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            yapf_api, 'FormatCode', lambda text, **options: (text, False)
        )
        patch.setattr(
            base_dataset, 'gc', SimpleNamespace(collect=lambda: None)
        )
        patch.setattr(
            runner, 'collect_env', functools.cache(runner.collect_env)
        )
        yield


@pytest.fixture(autouse=True)
def stop_workers(monkeypatch):
    """End the workers of dataloaders that a test leaves behind.

    If they are in a cycle with their Runner, garbage collection would wait
    5 s for each.
    """
    from torch.utils.data import dataloader

    iterators = weakref.WeakSet()
    cls = dataloader._MultiProcessingDataLoaderIter
    init = cls.__init__

    def init_and_note(self, loader):
        init(self, loader)
        iterators.add(self)

    monkeypatch.setattr(cls, '__init__', init_and_note)
    yield
    for iterator in iterators:
        iterator._shutdown_workers()


@pytest.fixture(scope='session')
def digit_scenes(tmp_path_factory):
    """A few scenes and crops of the embedded data set."""
    from mmfft.datasets import DigitScenesConfig, make_digit_scenes

    folder = tmp_path_factory.mktemp('data') / 'digit_scenes'
    config = DigitScenesConfig(
        train_scenes=8, val_scenes=4, train_crops=32, val_crops=20
    )
    make_digit_scenes(folder, config, workers=1, progress=False)
    return folder


@pytest.fixture(scope='session')
def data_layouts(tmp_path_factory, digit_scenes):
    """A folder with DigitScenes as ``data/{imagenet,coco,ade}``.

    The layout is that of docs/how_to/data.md, where the recipes expect it.
    """
    import numpy as np
    from mmdet.datasets import CocoDataset
    from mmengine.fileio import dump, load
    from PIL import Image

    folder = tmp_path_factory.mktemp('layouts')
    scenes = digit_scenes / 'scenes'

    imagenet = folder / 'data' / 'imagenet'
    (imagenet / 'meta').mkdir(parents=True)
    for split in ('train', 'val'):
        (imagenet / split).symlink_to(digit_scenes / 'crops' / split)
        pictures = sorted((imagenet / split).rglob('*.png'))
        lines = [f'{p.parent.name}/{p.name} {p.parent.name}' for p in pictures]
        (imagenet / 'meta' / f'{split}.txt').write_text('\n'.join(lines))

    coco = folder / 'data' / 'coco'
    (coco / 'annotations').mkdir(parents=True)
    for split, ours in [('train', 'training'), ('val', 'validation')]:
        (coco / f'{split}2017').symlink_to(scenes / 'images' / ours)
        truth = load(str(scenes / 'annotations' / f'instances_{ours}.json'))
        ids = [category['id'] for category in truth['categories']]
        for box in truth['annotations']:
            box['category_id'] = 1 + ids.index(box['category_id'])
        truth['categories'] = [
            dict(id=i, name=name)
            for i, name in enumerate(CocoDataset.METAINFO['classes'], 1)
        ]
        dump(truth, str(coco / 'annotations' / f'instances_{split}2017.json'))

    ade = folder / 'data' / 'ade' / 'ADEChallengeData2016'
    (ade / 'images').mkdir(parents=True)
    (ade / 'annotations').mkdir()
    for split in ('training', 'validation'):
        (ade / 'images' / split).mkdir()
        (ade / 'annotations' / split).mkdir()
        for picture in (scenes / 'images' / split).iterdir():
            jpeg = ade / 'images' / split / f'{picture.stem}.jpg'
            Image.open(picture).convert('RGB').save(jpeg)
        for picture in (scenes / 'annotations' / split).iterdir():
            # In ADE20K, classes start at 1, and 0 is unlabelled.
            labels = np.asarray(Image.open(picture)) + np.uint8(1)
            png = ade / 'annotations' / split / picture.name
            Image.fromarray(labels).save(png)
    return folder


@pytest.fixture(scope='session')
def run_tool():
    """Run one of our command lines in a new process, as a user does.

    Returns a function ``run_tool(tool, *args, cwd, check)`` that returns the
    finished process, with standard error merged into standard output.
    """

    def run(tool, *args, cwd, check=True):
        result = subprocess.run(
            [sys.executable, str(ROOT / 'tools' / tool), *map(str, args)],
            cwd=cwd,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if check:
            assert result.returncode == 0, result.stdout[-4000:]
        return result

    return run


@pytest.fixture
def forget_managers(monkeypatch):
    """A function that resets mmengine's managers, as in a new process.

    They are its loggers, visualizers, message hubs and the default scope.
    """

    def forget_below(manager):
        for cls in manager.__subclasses__():
            monkeypatch.setattr(cls, '_instance_dict', {})
            forget_below(cls)

    def forget():
        # Unless mmengine was imported, it has none.
        if 'mmengine.utils' in sys.modules:
            forget_below(sys.modules['mmengine.utils'].ManagerMixin)

    return forget


@pytest.fixture
def quick_runs(monkeypatch):
    """Without what takes longer than the runs of ``tiny_runs`` do."""
    monkeypatch.setattr('os.fsync', lambda descriptor: None)
    monkeypatch.setattr('mmengine.runner.runner.collect_env', dict)


@pytest.fixture(autouse=True)
def no_test_inherits_managers(forget_managers):
    """The scope that a test sets must not affect what the next one builds."""
    forget_managers()


@pytest.fixture(autouse=True)
def no_test_inherits_signal_handlers():
    """A command line that was interrupted leaves the next Ctrl-C to kill.

    A process in the background of a shell ignores it.
    """
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
    before = {number: signal.getsignal(number) for number in numbers}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def no_test_inherits_hardening(monkeypatch):
    """A command line in one test must not affect how the next one loads."""
    monkeypatch.setattr('mmfft.checkpoints.hardening._hardened', False)
    for word in ('', 'NO_'):
        name = f'TORCH_FORCE_{word}WEIGHTS_ONLY_LOAD'
        monkeypatch.setenv(name, '0')


@pytest.fixture
def hardened():
    """Hardened loading, as in our command lines."""
    from mmfft.checkpoints import harden

    harden()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache for PyTorch's downloads."""
    import torch

    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    # mmengine finds the cache by this variable.
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    folder = tmp_path / 'hub' / 'checkpoints'
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def trace(tmp_path):
    """Path at which a hostile file leaves its trace; fails if one exists."""
    path = tmp_path / 'trace'
    yield path
    assert not path.exists(), 'the file was executed'


@pytest.fixture
def hostile(tmp_path, trace):
    """A checkpoint that would run code, in a new folder."""
    from hostile_payloads import by_eval, write_zip

    path = tmp_path / 'files' / 'hostile.pth'
    path.parent.mkdir()
    write_zip(path, by_eval(str(trace)))
    return path


@pytest.fixture
def server(hostile):
    """Address of a server of the folder with the hostile file."""
    handler = functools.partial(
        SimpleHTTPRequestHandler, directory=hostile.parent
    )
    handler.log_message = lambda *args: None
    with HTTPServer(('127.0.0.1', 0), handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{web.server_port}'
        web.shutdown()


@pytest.fixture
def call_tool(monkeypatch, forget_managers):
    """Run one of our command lines in this process.

    Returns a function ``call_tool(tool, *args, cwd)``. The libraries are not
    imported again, which is most of the time of a short run.
    """

    def call(tool, *args, cwd):
        forget_managers()
        path = str(ROOT / 'tools' / tool)
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, 'argv', [path, *map(str, args)])
        runpy.run_path(path, run_name='__main__')

    return call


@pytest.fixture
def infer_shapes(monkeypatch, tmp_path, caplog):
    """Run onnxruntime's symbolic shape inference, and allow no guesses.

    ``quant_pre_process`` of onnxruntime and its TensorRT provider need it.
    """

    def infer(model):
        from onnxruntime.tools import symbolic_shape_infer as tool

        # What it cannot infer it leaves in the working directory.
        monkeypatch.chdir(tmp_path)
        caplog.clear()
        inferred = tool.SymbolicShapeInference.infer_shapes(model)
        guesses = [
            r.message for r in caplog.records if r.name == tool.__name__
        ]
        assert not guesses
        return inferred

    return infer


@pytest.fixture
def call_module(monkeypatch, forget_managers):
    """Run ``python -m module`` in this process.

    Returns a function ``call_module(module, *args, cwd)``.
    """

    def call(module, *args, cwd):
        forget_managers()
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, 'argv', [module, *map(str, args)])
        runpy.run_module(module, run_name='__main__', alter_sys=True)

    return call


def small_data(toolbox, folder):
    """``--cfg-options`` to run a config on a few pictures of DigitScenes."""
    scenes = folder / 'scenes'
    root = folder if toolbox == 'mmpretrain' else scenes
    options = [
        f'{split}_dataloader.{key}={value}'
        for split in ('train', 'val', 'test')
        for key, value in [
            ('dataset.data_root', root),
            ('num_workers', 0),
            ('persistent_workers', False),
            ('batch_size', 4 if split == 'train' else 1),
        ]
    ]
    if toolbox == 'mmdet':
        truth = scenes / 'annotations' / 'instances_validation.json'
        options += [
            f'{split}_evaluator.ann_file={truth}' for split in ('val', 'test')
        ]
    return options


class Site:
    """A folder with fake distributions and modules."""

    def __init__(self, folder):
        self.folder = folder

    def install(self, name, version='1.0'):
        info = self.folder / f'{name.replace("-", "_")}-{version}.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(
            f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n'
        )

    def module(self, name, text="__all__ = ['__version__']\n"):
        (self.folder / name).mkdir()
        (self.folder / name / '__init__.py').write_text(text)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """The only folder in which packages are found."""
    from mmfft.openmmlab.lines import DISTRIBUTIONS

    def openmmlab():
        return [m for m in sys.modules if m.split('.')[0] in DISTRIBUTIONS]

    for module in openmmlab():
        monkeypatch.delitem(sys.modules, module)
    others = [p for p in sys.path if 'site-packages' not in p]
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *others])
    importlib.invalidate_caches()
    yield Site(tmp_path)
    for module in openmmlab():
        del sys.modules[module]


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.setattr('mmfft.engine.runner.get_device', lambda: 'cuda')


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr('mmfft.engine.runner.get_device', lambda: 'cpu')
