# Copyright (c) mmfft authors. All rights reserved.
import io
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmfft.errors import ConfigError
from mmfft.predict.sources import (
    Picture,
    Video,
    VideoSource,
    find_sources,
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (
        'data/b/10.png', 'data/b/9.JPG', 'data/a/1.tif', 'data/a/notes.txt',
        'data/.hidden/1.png', 'data/b/._9.jpg', 'data/clip.MP4', 'other/9.jpg',
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(*inputs, **options):
    return [one.name for one in find_sources(inputs, **options)[1]]


def test_a_folder_has_its_pictures_in_natural_order(folder):
    top, found = find_sources(['data'])
    assert top == folder / 'data'
    assert found == [
        Picture(Path(path), path.removeprefix('data/'))
        for path in ('data/a/1.tif', 'data/b/9.JPG', 'data/b/10.png')
    ]
    assert names('data', without=Path('data', 'b')) == ['a/1.tif']


def test_links_are_followed_but_not_in_circles(folder):
    (folder / 'data' / 'c').symlink_to(folder / 'other')
    (folder / 'other' / 'up').symlink_to(folder / 'data')
    assert names('data') == ['a/1.tif', 'b/9.JPG', 'b/10.png', 'c/9.jpg']


def test_files_have_names_below_their_common_folder(folder):
    assert names('data/b/10.png') == ['10.png']
    assert names('data/b/10.png', 'data/b/9.JPG') == ['10.png', '9.JPG']
    top, found = find_sources(['other', 'data/b/9.JPG'])
    assert top == folder
    assert [one.name for one in found] == ['other/9.jpg', 'data/b/9.JPG']
    # Once, however often it is given.
    again = str(folder / 'other' / '9.jpg')
    assert names('other/9.jpg', 'other', again) == ['9.jpg']


def test_a_video_is_one_that_is_named(folder):
    _, (found,) = find_sources(['data/clip.MP4'])
    assert found == VideoSource(Path('data/clip.MP4'), 'clip.MP4')
    # Whatever it is called, other files are pictures.
    assert names('data/a/notes.txt') == ['notes.txt']


@pytest.mark.parametrize('ends', ['\n', '\r\n', '\0'])
def test_paths_on_standard_input(folder, monkeypatch, ends):
    (folder / 'a b.png').touch()
    text = ends.join(['a b.png', 'data/b/9.JPG', ''])
    monkeypatch.setattr('sys.stdin', io.StringIO(text))
    assert names('-') == ['a b.png', 'data/b/9.JPG']


def test_what_is_not_there(folder, monkeypatch):
    with pytest.raises(ConfigError, match="'x.png', 'y.png' does not exist"):
        find_sources(['data', 'x.png', 'y.png'])
    (folder / 'empty').mkdir()
    with pytest.raises(ConfigError, match="'empty' contains no picture"):
        find_sources(['data', 'empty'])
    monkeypatch.setattr('sys.stdin', io.StringIO('\n'))
    assert find_sources(['-']) == (None, [])


def test_frames_are_read_one_by_one(tmp_path):
    path = tmp_path / 'clip.avi'
    codec = cv2.VideoWriter_fourcc(*'MJPG')
    writer = cv2.VideoWriter(str(path), codec, 12.5, (64, 48))
    for i in range(4):
        # Red as OpenCV has it.
        writer.write(np.full((48, 64, 3), (0, 0, 60 * i), dtype=np.uint8))
    writer.release()
    video = VideoSource(path, 'clip.avi').open()
    assert (video.rate, video.count) == (12.5, 4)
    numbers, frames = zip(*video.frames())
    video.close()
    assert numbers == (0, 1, 2, 3)
    for i, frame in enumerate(frames):
        assert frame.shape == (48, 64, 3)
        np.testing.assert_allclose(frame.mean((0, 1)), (60 * i, 0, 0), atol=6)
    path.write_text('no video')
    with pytest.raises(ConfigError, match="'clip.avi' is not a video"):
        Video(path, 'clip.avi')


class FakeCapture:
    """A camera that does not tell its rate."""

    opened = []

    def __init__(self, source):
        self.opened.append(source)
        self.left = 3 if source == 1 else 0

    def read(self):
        self.left -= 1
        frame = np.full((4, 6, 3), (0, 0, self.left), dtype=np.uint8)
        return (True, frame) if self.left >= 0 else (False, None)

    def get(self, prop):
        return 0.0

    def release(self):
        self.opened.clear()


def test_a_camera(monkeypatch):
    monkeypatch.setattr('cv2.VideoCapture', FakeCapture)
    camera = VideoSource(1, 'camera-1').open()
    assert FakeCapture.opened == [1]
    assert (camera.rate, camera.count) == (25, None)
    assert [frame[0, 0].tolist() for _, frame in camera.frames()] == [
        [2, 0, 0], [1, 0, 0], [0, 0, 0]
    ]  # fmt: skip
    camera.close()
    assert not FakeCapture.opened
    with pytest.raises(ConfigError, match='camera 0 cannot be opened'):
        VideoSource(0, 'camera-0').open()
    assert not FakeCapture.opened
