# Copyright (c) mmfft authors. All rights reserved.
"""The command line, with a model that has nothing to compute."""

import contextlib
import io
import json
import signal
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from mmfft.errors import ConfigError
from mmfft.predict.__main__ import main
from mmfft.predict.reading import read_image
from mmfft.predict.sources import PICTURES
from mmfft.runtime.prediction import Prediction

CONFIG = 'mmfft::demo/cdfformer-nano_1xb32-6e_digit-crops.py'
CLASSES = ('dark', 'light')
# In natural order.
PHOTOS = ('9.jpg', '10.png')


class FakeModel:
    """Finds the dark and the light pixels of an image."""

    classes = CLASSES
    task = 'detection'
    # Called before each prediction.
    before = None

    def predict_file(self, path):
        image = read_image(path)[..., ::-1]
        return image, self.predict_frame(image)

    def predict_frame(self, frame):
        if self.before:
            self.before()
        light = frame.mean(2) > 127
        share = light.mean()
        size = frame.shape[:2]
        if self.task == 'segmentation':
            return self.of(size, [], [], label_map=light.astype(int))
        if self.task == 'classification':
            order = [1, 0] if share > 0.5 else [0, 1]
            return self.of(size, order, [max(share, 1 - share)] * 2)
        masks = np.stack([light, ~light])
        boxes = [[0, 0, *size[::-1]], [1, 2, 4, 8]]
        return self.of(
            size, [1, 0], [0.9, 0.2], boxes=np.array(boxes, np.float32),
            masks=masks,
        )  # fmt: skip

    def of(self, size, labels, scores, **more):
        return Prediction(
            self.task, size, CLASSES, np.array(labels, dtype=int),
            np.array(scores, dtype=np.float32), **more,
        )  # fmt: skip


@pytest.fixture
def model(monkeypatch):
    model = FakeModel()

    def load(cfg, checkpoint, device):
        model.loaded = cfg.default_scope, checkpoint, device
        return model

    monkeypatch.setattr('mmfft.predict.__main__.ToolboxModel', load)
    return model


@pytest.fixture
def photos(tmp_path):
    """A folder with two photos, the second of which is light."""
    for name, value in (('a/10.png', 250), ('a/9.jpg', 20)):
        path = tmp_path / 'photos' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((40, 60, 3), value, dtype=np.uint8)
        pixels[:10] = 255 - value
        Image.fromarray(pixels).save(path)
    return tmp_path / 'photos'


@pytest.fixture
def call(tmp_path, model, monkeypatch, capsys, forget_managers):
    def call(*args, text='', config=(CONFIG, 'x.pth')):
        forget_managers()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr('sys.argv', ['', *config, *map(str, args)])
        monkeypatch.setattr('sys.stdin', io.StringIO(text))
        status = 0
        try:
            main()
        except SystemExit as error:
            status = error.code
        out, err = capsys.readouterr()
        return SimpleNamespace(status=status, out=out, err=err)

    return call


def coco_of(folder):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(folder / 'predictions.json'))


def results_of(coco, annotations):
    with contextlib.redirect_stdout(io.StringIO()):
        return coco.loadRes(annotations)


def test_objects(call, photos, tmp_path, model):
    done = call('photos', '--device', 'cpu')
    assert done.status == 0 and model.loaded == ('mmpretrain', 'x.pth', 'cpu')
    *lines, last = done.out.splitlines()
    assert lines[-2:] == [
        'a/9.jpg: 1 found: light',
        'a/10.png: 1 found: light',
    ]
    assert last.startswith('2 pictures (') and 'predictions/vis' in last
    out = tmp_path / 'predictions'
    files = sorted(str(p.relative_to(out)) for p in out.rglob('*.*'))
    assert files == ['predictions.json', 'vis/a/10.png', 'vis/a/9.jpg']
    assert np.asarray(Image.open(out / 'vis' / 'a' / '10.png')).std() > 1
    coco = coco_of(out)
    named = [image['file_name'] for image in coco.loadImgs([1, 2])]
    assert named == [f'a/{name}' for name in PHOTOS]
    assert {(i['width'], i['height']) for i in coco.imgs.values()} == {
        (60, 40)
    }
    assert [c['name'] for c in coco.loadCats([1, 2])] == list(CLASSES)
    (second,) = coco.loadAnns(coco.getAnnIds(imgIds=2))
    assert second['category_id'] == 2 and second['iscrowd'] == 0
    assert second['bbox'] == [0, 0, 60, 40] and second['score'] == 0.9
    mask = coco.annToMask(second)
    assert mask[10:].all() and not mask[:10].any()
    assert second['area'] == 30 * 60
    saved = json.loads((out / 'predictions.json').read_text())
    assert saved['info']['folder'] == str(photos)
    assert 'videos' not in saved
    results = results_of(coco, saved['annotations'])
    assert len(results.anns) == 2


def test_the_threshold_holds_for_all_that_is_written(call, photos, tmp_path):
    done = call('photos', '--score-thr', 0.1, '--out-dir', 'all')
    assert 'a/9.jpg: 2 found: dark, light' in done.out
    annotations = coco_of(tmp_path / 'all').anns.values()
    assert [a['category_id'] for a in annotations] == [2, 1, 2, 1]
    assert [a['bbox'] for a in annotations][1] == [1, 2, 3, 6]
    done = call('photos', '--score-thr', 7, '--out-dir', 'none')
    assert done.status == 2 and '--score-thr must be from 0 to 1' in done.err


def test_objects_without_masks(call, photos, tmp_path, model):
    of = model.of
    model.of = lambda *args, masks, **more: of(*args, **more)
    assert call('photos').status == 0
    coco = coco_of(tmp_path / 'predictions')
    (first, _) = coco.anns.values()
    assert 'segmentation' not in first and first['area'] == 60 * 40
    results = results_of(coco, list(coco.anns.values()))
    assert results.annToMask(results.anns[1]).all()


def test_segments(call, photos, tmp_path, model):
    model.task = 'segmentation'
    done = call('photos/a/10.png')
    assert '10.png: pixels: light (75.0 %), dark (25.0 %)' in done.out
    coco = coco_of(tmp_path / 'predictions')
    dark, light = coco.anns.values()
    assert [dark['category_id'], light['category_id']] == [1, 2]
    assert (coco.annToMask(dark) + coco.annToMask(light) == 1).all()
    assert light['area'] == 30 * 60 and light['bbox'] == [0, 10, 60, 30]
    results = results_of(coco, list(coco.anns.values()))
    assert results.anns[2]['area'] == 30 * 60


def test_classes(call, photos, tmp_path, model):
    model.task = 'classification'
    done = call('photos')
    assert 'a/9.jpg: class dark (75.0 %), light (75.0 %)' in done.out
    coco = coco_of(tmp_path / 'predictions')
    first, second = coco.anns.values()
    assert [first['category_id'], second['category_id']] == [1, 2]
    assert first['score'] == 0.75
    assert [one['category_id'] for one in second['top']] == [2, 1]
    assert len(results_of(coco, list(coco.anns.values())).anns) == 2


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / 'clip.avi'
    codec = cv2.VideoWriter_fourcc(*'MJPG')
    writer = cv2.VideoWriter(str(path), codec, 10, (640, 480))
    for i in range(5):
        writer.write(np.full((480, 640, 3), 50 * i, dtype=np.uint8))
    writer.release()
    return path


def opened(path):
    video = cv2.VideoCapture(str(path))
    properties = 'FPS', 'FRAME_COUNT', 'FRAME_WIDTH', 'FRAME_HEIGHT'
    return tuple(
        video.get(getattr(cv2, f'CAP_PROP_{name}')) for name in properties
    )


def test_a_video(call, clip, tmp_path):
    done = call('clip.avi', '--every', 2)
    assert done.status == 0 and 'clip.avi: 3 frames' in done.out
    out = tmp_path / 'predictions'
    assert [p.name for p in (out / 'vis').iterdir()] == ['clip.avi.mp4']
    # As long as the original.
    assert opened(out / 'vis' / 'clip.avi.mp4') == (5, 3, 640, 480)
    saved = json.loads((out / 'predictions.json').read_text())
    (video,) = saved['videos']
    assert video == dict(
        id=1, name='clip.avi', fps=10.0, width=640, height=480
    )
    assert [i['frame_id'] for i in saved['images']] == [0, 2, 4]
    assert saved['images'][1]['file_name'] == 'clip.avi/000002.png'
    call('clip.avi', '--max-frames', 2, '--overwrite')
    assert opened(out / 'vis' / 'clip.avi.mp4')[:2] == (10, 2)


def test_a_camera(call, monkeypatch, tmp_path):
    class Camera:
        def __init__(self, number):
            self.opened = number == 1

        def read(self):
            frame = np.full((480, 640, 3), 200, dtype=np.uint8)
            return self.opened, frame if self.opened else None

        def get(self, prop):
            return 15.0 if prop == cv2.CAP_PROP_FPS else -1.0

        def release(self):
            self.opened = False

    capture = cv2.VideoCapture
    monkeypatch.setattr('cv2.VideoCapture', Camera)
    done = call('--camera', 1, '--max-frames', 3)
    assert done.status == 0 and 'camera-1: 3 frames' in done.out
    failed = call('--camera', 0, '--out-dir', 'none')
    assert failed.status == 2 and 'camera 0 cannot be opened' in failed.err
    assert call('--camera', -1, '--out-dir', 'none').status == 2
    monkeypatch.setattr('cv2.VideoCapture', capture)
    drawn = tmp_path / 'predictions' / 'vis' / 'camera-1.mp4'
    assert opened(drawn) == (15, 3, 640, 480)


def test_paths_on_standard_input(call, photos):
    done = call('-', text='photos/a/10.png\n')
    assert done.status == 0 and '\n10.png: ' in f'\n{done.out}'
    done = call('-', text='', config=(CONFIG, 'x.pth'))
    assert done.status == 2


def test_a_broken_file_does_not_stop_the_others(call, photos, tmp_path):
    (photos / 'a' / '1.png').write_text('no image')
    (photos / 'b.avi').write_text('no video')
    done = call('photos', 'photos/b.avi')
    assert done.status == 1
    assert "a/1.png left out: '1.png' is not an image" in done.err
    assert "b.avi left out: 'b.avi' is not a video" in done.err
    assert len(coco_of(tmp_path / 'predictions').imgs) == 2
    done = call('photos/a/1.png', 'photos/b.avi', '--overwrite')
    assert done.status == 2 and "'1.png' is not an image" in done.err
    # There was nothing to replace the old predictions with.
    assert len(coco_of(tmp_path / 'predictions').imgs) == 2


@pytest.mark.parametrize('number, status', [
    (signal.SIGINT, 130), (signal.SIGTERM, 143)
])  # fmt: skip
def test_what_was_done_before_an_interruption_is_kept(
    call, photos, clip, tmp_path, model, monkeypatch, number, status
):
    left = iter([False, False, False, True])
    # The handler itself: libraries of other tests may have put their own
    # below Python's, which would end the process.
    model.before = lambda: (
        next(left) and signal.getsignal(number)(number, None)
    )
    done = call('photos', 'clip.avi')
    assert done.status == status
    word = 'interrupted' if number == signal.SIGINT else 'terminated'
    assert f'{word} after 3 pictures' in done.err
    out = tmp_path / 'predictions'
    assert str(out.relative_to(tmp_path) / 'predictions.json') in done.err
    assert len(coco_of(out).imgs) == 3
    assert opened(out / 'vis' / 'clip.avi.mp4')[1] == 1


def test_an_error_loses_nothing(call, photos, tmp_path, model):
    left = iter([False, True])
    model.before = lambda: next(left) and 1 / 0
    with pytest.raises(ZeroDivisionError):
        call('photos')
    assert len(coco_of(tmp_path / 'predictions').imgs) == 1


def test_old_predictions_are_neither_mixed_nor_lost(call, photos, tmp_path):
    assert call('photos').status == 0
    done = call('photos/a/10.png')
    assert done.status == 2 and "predictions/vis' exists" in done.err
    # What is only printed is in nobody's way.
    assert call('photos', '--no-json', '--no-pictures').status == 0
    # Drawn pictures in the folder are no input.
    assert call('.', '--overwrite', '--no-json').status == 0
    out = tmp_path / 'predictions'
    assert not (out / 'predictions.json').exists()
    drawn = sorted(p.relative_to(out).as_posix() for p in out.rglob('*.*'))
    assert drawn == ['vis/photos/a/10.png', 'vis/photos/a/9.jpg']
    done = call(drawn_in(drawn[0]), '--overwrite')
    assert done.status == 2 and 'would delete the input' in done.err
    assert call(drawn_in(drawn[0]), '--out-dir', 'new').status == 0


def drawn_in(name):
    return f'predictions/{name}'


def test_a_model_at_fault_is_no_broken_file(call, photos, model):
    def fail():
        raise ConfigError('the model predicts depths')

    model.before = fail
    done = call('photos')
    assert done.status == 2
    assert done.err.endswith(': error: the model predicts depths\n')


def test_a_folder_that_cannot_be_written(call, photos, tmp_path):
    done = call('photos', '--out-dir', 'photos/a/9.jpg/new')
    assert done.status == 2 and "9.jpg' is no folder" in done.err


def test_only_one_of_both(call, photos, tmp_path):
    call('photos', '--no-pictures', '--out-dir', 'json')
    assert [p.name for p in (tmp_path / 'json').iterdir()] == [
        'predictions.json'
    ]
    call('photos', '--no-json', '--out-dir', 'drawn')
    assert [p.name for p in (tmp_path / 'drawn').iterdir()] == ['vis']


@pytest.mark.parametrize('ending', [*PICTURES, '.JPG', '.jp'])
def test_the_format_is_that_of_the_input(ending, call, photos, tmp_path):
    image = Image.open(photos / 'a' / '10.png')
    path = tmp_path / f'photo{ending}'
    image.save(path, 'PNG' if ending == '.jp' else None)
    assert call(path).status == 0
    name = 'photo.jp.png' if ending == '.jp' else path.name
    drawn = Image.open(tmp_path / 'predictions' / 'vis' / name)
    assert drawn.format == Image.open(path).format and drawn.mode == 'RGB'


@pytest.mark.parametrize('config, args, message', [
    ((CONFIG,), [], 'CHECKPOINT and INPUT are missing'),
    ((CONFIG, 'x.pth'), [], 'INPUT is missing'),
    (('x.onnx',), [], 'INPUT is missing'),
    ((CONFIG, 'x.pth'), ['photos', '--every', 0], '--every must be'),
    ((CONFIG, 'x.pth'), ['photos', '--max-frames', 0], '--max-frames must'),
    ((CONFIG, 'x.pth'), ['no.png'], "'no.png' does not exist"),
    (('x.onnx',), ['photos', '--device', 'cpu'], '--device is for a config'),
    (('x.py', 'x.pth'), ['photos'], "config 'x.py' does not exist"),
])  # fmt: skip
def test_wrong_calls(call, photos, tmp_path, config, args, message):
    done = call(*args, config=config)
    assert done.status == 2
    assert done.err.startswith('python -m mmfft.predict: error: ')
    assert message in done.err
    assert not (tmp_path / 'predictions').exists()


def test_an_onnx_file(call, photos, tmp_path, model, monkeypatch):
    class OnnxModel:
        classes = CLASSES

        def __init__(self, path):
            assert path == 'model.ONNX'

        def predict(self, image):
            return model.predict_frame(image)

    monkeypatch.setattr('mmfft.runtime.onnx_model.OnnxModel', OnnxModel)
    (photos / 'a' / '1.png').write_text('no image')
    done = call('photos', config=('model.ONNX',))
    assert done.status == 1 and "'1.png' is not an image" in done.err
    assert 'a/9.jpg: 1 found: light' in done.out
    assert len(coco_of(tmp_path / 'predictions').imgs) == 2


def test_a_bar_in_a_terminal_only(call, photos, monkeypatch):
    assert call('photos').err == ''
    monkeypatch.setenv('FORCE_COLOR', '1')
    monkeypatch.setenv('TERM', 'xterm')
    done = call('photos', '--overwrite')
    assert '2/2' in done.err and '2/2' not in done.out
    assert 'a/9.jpg: 1 found: light' in done.out
