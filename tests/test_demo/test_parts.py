# Copyright (c) mmfft authors. All rights reserved.
"""What is left to do of the demo, on small configs; nothing is trained."""

import json

import pytest

from mmfft.demo import parts
from mmfft.demo.parts import Demo
from mmfft.demo.report import METRICS, read_results


@pytest.fixture
def said():
    return []


@pytest.fixture
def demo(tmp_path, monkeypatch, said):
    """A demo with configs of a line, below the current folder."""
    configs = tmp_path / 'configs' / 'demo'
    configs.mkdir(parents=True)
    start = "checkpoint = 'work_dirs/demo/cls/last.pth'\n"
    (configs / 'c.py').write_text('epochs = 8\n')
    for name in ('d.py', 's.py'):
        (configs / name).write_text(f'{start}epochs = 3\n')
    own = dict(cls='c.py', det='d.py', seg='s.py')
    monkeypatch.setattr(parts, 'CONFIGS', dict(demo=own))
    monkeypatch.chdir(tmp_path)
    return Demo(tmp_path)


def begin(demo, part):
    """Start a part as its job does, and leave a checkpoint."""
    commands = demo.job(part)._commands
    train = next(commands)
    folder = demo.work_dir / part
    (folder / 'last.pth').touch()
    (folder / 'last_checkpoint').write_text('last.pth')
    return train, commands


def finish(demo, part):
    _, commands = begin(demo, part)
    test = next(commands)
    metrics = {key: 0.5 for _, key, _ in METRICS.values()}
    (demo.work_dir / part / 'metrics.json').write_text(json.dumps(metrics))
    assert next(commands, None) is None
    return test


def checkpoints(demo):
    folders = {file.parent.name for file in demo.work_dir.glob('*/*.pth')}
    return sorted(name for name in folders if not name.endswith('.before'))


ALL = ['cls', 'det', 'seg']


def test_what_is_begun_goes_on_and_what_is_finished_is_kept(demo, said):
    assert demo.plan(ALL, said.append) == [['cls'], ['det', 'seg']]
    assert said == []
    finish(demo, 'cls')
    finish(demo, 'det')
    train, _ = begin(demo, 'seg')
    assert '--resume' in train
    for _ in range(2):
        assert demo.plan(ALL, said.append) == [['seg']]
    assert checkpoints(demo) == ALL
    assert said[:3] == [
        'classify: finished before, and kept',
        'detect: finished before, and kept',
        'segment: goes on from the last checkpoint in work_dirs/demo/seg',
    ]


def test_what_is_finished_begins_again(demo, said):
    for part in ALL:
        finish(demo, part)
    assert demo.plan(['det'], said.append) == [['det']]
    assert checkpoints(demo) == ['cls', 'seg']
    assert set(read_results(demo.results)['commands']) == {'cls', 'seg'}
    finish(demo, 'det')
    assert demo.plan(ALL, said.append) == [['cls'], ['det', 'seg']]
    assert checkpoints(demo) == []
    assert read_results(demo.results)['commands'] == {}
    assert 'top1' not in read_results(demo.results)
    assert said[-1] == (
        'classify, detect, segment: finished before; again from the beginning '
        '(the last results are in folders that end with .before)'
    )
    # Nothing is lost at once.
    for part in ALL:
        assert list((demo.work_dir / f'{part}.before').glob('*.pth'))


@pytest.mark.parametrize('change', ['content', 'name'])
@pytest.mark.parametrize('finished', [True, False])
def test_another_config_begins_again(change, finished, demo, said):
    finish(demo, 'cls')
    (finish if finished else begin)(demo, 'det')
    begin(demo, 'seg')
    config = demo.config('det')
    if change == 'content':
        config.write_text(config.read_text().replace('3', '4'))
    else:
        demo.parts['det'] = 'd4.py'
        config.rename(config.with_name('d4.py'))
    assert demo.plan(ALL, said.append) == [['det', 'seg']]
    assert checkpoints(demo) == ['cls', 'seg']
    assert 'detect: work_dirs/demo/det is of another config' in said[1]
    assert 'it is now work_dirs/demo/det.before' in said[1]
    assert list((demo.work_dir / 'det.before').glob('*.pth'))
    assert set(read_results(demo.results)['commands']) == {'cls'}


def test_with_another_start_all_begin_again(demo, said):
    for part in ALL:
        finish(demo, part)
    demo.config('cls').write_text('epochs = 9\n')
    assert demo.plan(['det'], said.append) == [['cls'], ['det']]
    assert checkpoints(demo) == ['seg']
    assert demo.plan(ALL, said.append) == [['cls'], ['det', 'seg']]
    assert checkpoints(demo) == []


def test_what_was_not_trained_by_the_demo_begins_again(demo, said):
    folder = demo.work_dir / 'seg'
    folder.mkdir(parents=True)
    (folder / 'last.pth').touch()
    assert demo.plan(['cls', 'seg'], said.append) == [['cls'], ['seg']]
    assert checkpoints(demo) == []
    assert (demo.work_dir / 'seg.before' / 'last.pth').exists()


def test_the_first_part_runs_if_its_checkpoint_is_missing(demo, said):
    assert demo.plan(['cls'], said.append) == [['cls']]
    assert demo.plan(['seg'], said.append) == [['cls'], ['seg']]
    # One that the user has trained is taken.
    folder = demo.work_dir / 'cls'
    folder.mkdir(parents=True)
    (folder / 'last.pth').touch()
    assert demo.plan(['seg'], said.append) == [['seg']]
    assert checkpoints(demo) == ['cls']


def test_times_of_all_calls_are_in_the_results(demo):
    begin(demo, 'cls')
    entry = dict(command='c', status=0)
    ran = [
        dict(entry, start=0, end=60, processor=30, status=-15),
        dict(entry, start=600, end=660, processor=90),
    ]
    (demo.work_dir / 'cls' / 'commands.json').write_text(json.dumps(ran))
    finish(demo, 'cls')
    minutes = read_results(demo.results)['minutes']
    assert minutes['cls'] == dict(clock=2, processor=2)


def test_each_test_leaves_what_the_picture_shows(demo):
    for part, ending in dict(
        cls='predictions.pkl',
        det='predictions.pkl',
        seg='output_dir=work_dirs/demo/seg/labels',
    ).items():
        assert finish(demo, part)[-1].endswith(ending)
