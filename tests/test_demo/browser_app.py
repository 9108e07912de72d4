# Copyright (c) mmfft authors. All rights reserved.
"""The demo page in a real browser. `make test-app` runs it.

It is no part of `make test`: it needs gradio, playwright and a Chromium.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
from config_files import ROOT, load
from random_weights import save_random_weights

CONFIG = 'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py'
CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')


@pytest.fixture(scope='session', autouse=True)
def needs():
    missing = [m for m in ('gradio', 'playwright') if not find_spec(m)]
    if missing:
        pytest.fail(f'missing: pip install {" ".join(missing)}')
    if not CHROMIUM:
        pytest.fail('missing: Chromium. Debian: apt-get install chromium')


@pytest.fixture(scope='module')
def address(tmp_path_factory, digit_scenes):
    """Host and port of the page of an untrained classifier."""
    folder = tmp_path_factory.mktemp('app')
    part = folder / 'work' / 'cls'
    part.mkdir(parents=True)
    checkpoint = save_random_weights(load(CONFIG), part)
    (part / 'last_checkpoint').write_text(checkpoint)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    log = folder / 'log.txt'
    with open(log, 'w') as out:
        process = subprocess.Popen(
            [
                sys.executable,
                str(ROOT / 'demo' / 'app.py'),
                f'--work-dir={folder / "work"}',
                f'--data={digit_scenes}',
                f'--port={port}',
            ],
            cwd=folder,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    end = time.monotonic() + 120
    while not reachable('127.0.0.1', port):
        assert process.poll() is None, log.read_text()[-3000:]
        assert time.monotonic() < end, log.read_text()[-3000:]
        time.sleep(0.3)
    yield '127.0.0.1', port
    process.terminate()
    process.wait(20)


def reachable(host, port):
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


@pytest.fixture
def page(address):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=['--no-sandbox']
        )
        page = browser.new_page(viewport=dict(width=1280, height=1400))
        page.set_default_timeout(90_000)
        page.goto('http://{}:{}'.format(*address))
        page.get_by_role('button', name='Look').wait_for()
        yield page
        browser.close()


def look(page):
    page.get_by_role('button', name='Look').click()


def test_only_this_machine_reaches_it(address):
    # Other addresses of this machine, if it has any.
    others = {info[4][0] for info in socket.getaddrinfo(
        socket.gethostname(), None, socket.AF_INET
    )} - {'127.0.0.1'}  # fmt: skip
    assert not any(reachable(host, address[1]) for host in others)


def test_sample_gives_a_result(page):
    assert page.get_by_label('classify a digit').is_checked()
    page.locator('.gallery-item').last.click()
    page.locator('[data-testid="image"] img').first.wait_for()
    look(page)
    words = page.get_by_label('In words')
    page.wait_for_function(
        'box => box.value.startsWith("class ")', arg=words.element_handle()
    )
    assert words.input_value().count('%') == 3
    assert 'ms for the backbone, one image of 224 × 224' in (
        page.get_by_role('textbox', name='Latency').input_value()
    )
    # The sample, the result and the filters are all pictures.
    pictures = page.locator('[data-testid="image"] img, .image-frame img')
    sizes = [
        (e['w'], e['h'])
        for e in pictures.evaluate_all(
            'all => all.map(e => ({w: e.naturalWidth, h: e.naturalHeight}))'
        )
    ]
    assert (64, 64) in sizes
    assert any(width > 1000 for width, _ in sizes)


def test_errors_are_shown(page, tmp_path):
    toast = page.get_by_test_id('toast-body')
    look(page)
    toast.first.wait_for()
    assert 'drop an image or pick a sample' in toast.first.inner_text()
    page.get_by_test_id('toast-close').first.click()
    broken = tmp_path / 'broken.png'
    broken.write_text('no image')
    page.locator('input[type=file]').first.set_input_files(str(broken))
    page.get_by_role('button', name='Clear').or_(
        page.get_by_label('Remove Image')
    ).first.wait_for()
    look(page)
    toast.first.wait_for()
    assert 'cannot identify image file' in toast.first.inner_text()
    assert 'broken.png' in toast.first.inner_text()
