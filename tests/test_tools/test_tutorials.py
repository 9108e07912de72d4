# Copyright (c) mmfft authors. All rights reserved.
"""What docs/ asks a reader to run, as it stands there, in an empty folder.

Only the sizes are smaller: fewer pictures are made, and a training is one
epoch on four of them (``shorten``, and ``SHORT`` of the notebook).
"""

import os
from importlib.metadata import distribution
from importlib.util import find_spec

import nbformat
import pytest
from conftest import ROOT
from doc_pages import SHORT_TRAINING, Walk, add_options
from nbclient import NotebookClient
from packaging.requirements import Requirement

pytestmark = pytest.mark.slow

TUTORIALS = ROOT / 'docs' / 'tutorials'
PAGES = [
    *(page for page in TUTORIALS.glob('*.md') if page.stem != 'index'),
    ROOT / 'docs' / 'explanation' / 'global_filters.md',
]
NOTEBOOKS = sorted(TUTORIALS.glob('*.ipynb'))
SHORT_TEST = [f'{x}_dataloader.dataset.indices=4' for x in ('val', 'test')]
# The first line of the notebook and what the test makes of it.
SHORT = ('scenes, epochs = 150, 8', 'scenes, epochs = 6, 1')


def shorten(words):
    tool, *words = words
    if tool.endswith('digit_scenes.py'):
        # The first six of the validation are the new pictures.
        for name, number in [('train', 6), ('val', 10)]:
            words[words.index(f'--{name}-scenes') + 1] = str(number)
        words += ['--workers', '1']
    if tool.endswith('check_dataset.py'):
        words += ['--nproc', '1']
    if tool.endswith('/train.py'):
        words = add_options(words, SHORT_TRAINING + SHORT_TEST)
        if 'det.py' in words[0]:  # nothing would be found yet
            words.append('model.test_cfg.score_thr=0')
    if '--score-thr' in words:
        words[words.index('--score-thr') + 1] = '0'
    if words[:1] == ['venv']:  # nothing can be downloaded
        words.insert(1, '--without-pip')
    return [tool, *words]


def curves_are_there(folder, words):
    """In the place of ``tensorboard``, which does not end."""
    assert list(folder.glob(f'{words[1]}/**/events.out.tfevents.*'))


def link_packages(folder, words):
    """In the place of ``pip install``: what is installed here, linked.

    Only the packages that are named and what they need are to be found.
    """
    command, *names = words
    assert command == 'install'
    (site,) = folder.glob('plain/lib/python3*/site-packages')
    done = set()
    while names:
        package = distribution(names.pop())
        if package.name in done:
            continue
        done.add(package.name)
        for top in {file.parts[0] for file in package.files} - {'..'}:
            if not (site / top).exists():
                (site / top).symlink_to(package.locate_file(top))
        for line in package.requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({'extra': ''}):
                names.append(needed.name)


@pytest.mark.parametrize('page', sorted(PAGES), ids=lambda page: page.stem)
def test_a_page(page, tmp_path, call_tool, call_module):
    if page.stem == 'onnx' and not find_spec('onnxruntime'):
        pytest.skip('onnxruntime is not installed')
    walk = Walk(
        tmp_path,
        call_tool,
        call_module,
        shorten,
        {'tensorboard': curves_are_there, 'plain/bin/pip': link_packages},
    )
    walk.walk(page.read_text())


def shows(cell):
    """Whether a cell ends with something to look at, besides printed text."""
    return [o.output_type for o in cell.outputs if 'data' in o]


@pytest.mark.parametrize('file', NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook(file, tmp_path, monkeypatch):
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    notebook = nbformat.read(file, as_version=4)
    stored = [c for c in notebook.cells if c.cell_type == 'code']
    notebook = nbformat.read(file, as_version=4)
    (first, *_) = cells = [c for c in notebook.cells if c.cell_type == 'code']
    assert SHORT[0] in first.source
    first.source = first.source.replace(*SHORT)
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name='python3',
        resources=dict(metadata=dict(path=tmp_path)),
    )
    client.execute()
    for cell, shown in zip(cells, stored):
        assert cell.execution_count == shown.execution_count
        assert shows(cell) == shows(shown)


@pytest.mark.parametrize('file', NOTEBOOKS, ids=lambda file: file.stem)
def test_what_a_notebook_stores(file):
    """Its outputs, in order, and nothing of the machine that made them."""
    assert file.stat().st_size < 400_000
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    assert set(notebook.metadata) == {'kernelspec', 'language_info'}
    assert notebook.metadata.language_info == {'name': 'python'}
    code = [c for c in notebook.cells if c.cell_type == 'code']
    counts = [cell.execution_count for cell in code]
    assert counts == list(range(1, len(code) + 1))
    assert not any(cell.metadata for cell in notebook.cells)
    assert len(list(filter(shows, code))) >= 3
    assert os.sep + 'site-packages' not in file.read_text()


@pytest.mark.parametrize(
    'text, message',
    [
        ('```python\nprint(12)\n```\n```text\ntwelve\n```', 'not printed'),
        ('```python\n1 / 0\n```', 'division by zero'),
        ('```bash\nls gone\n```', 'gone'),
        ('```toml\nx = 1\n```', 'line 1: ```toml: nothing runs'),
        ('```\nx = 1\n```', 'nothing runs'),
        ('- ```bash\n  ls\n  ```', 'a block that is not read'),
    ],
)
def test_what_the_walk_does_not_let_pass(text, message, tmp_path):
    walk = Walk(tmp_path, None, None, shorten, {})
    with pytest.raises(AssertionError, match=message):
        walk.walk(text)


def test_output_of_another_run(tmp_path):
    walk = Walk(tmp_path, None, None, shorten, {})
    walk.walk(
        "```python\nprint('took 1.5 s\\nloss: -3e-05  kept')\n```\n"
        '```text\n...\nloss: 0.25 ...\n```'
    )
