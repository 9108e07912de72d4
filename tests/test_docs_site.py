# Copyright (c) mmfft authors. All rights reserved.
"""What docs/_extensions adds to Sphinx, on small sites."""

import re
import sys

import pytest
from conftest import ROOT
from sphinx.application import Sphinx
from sphinx.util.console import nocolor

EXTENSIONS = str(ROOT / 'docs' / '_extensions')


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Builds a site in a copy of nothing; returns its page and warnings."""
    monkeypatch.syspath_prepend(EXTENSIONS)
    import repository

    nocolor()
    monkeypatch.setattr(repository, 'ROOT', tmp_path)
    docs = tmp_path / 'docs'
    (docs / 'how_to').mkdir(parents=True)
    (tmp_path / 'tools').mkdir()
    (tmp_path / 'tools' / 'train.py').touch()
    (tmp_path / 'CONTRIBUTING.md').write_text(
        '# Contributing\n\n## Style\n\n[train](tools/train.py)\n'
    )
    (docs / 'contributing.md').write_text('<!-- CONTRIBUTING.md -->\n')
    (docs / 'index.md').write_text(
        '# Site\n\n```{toctree}\ncontributing\nhow_to/page\n```\n'
    )

    def build_page(text):
        (docs / 'how_to' / 'page.md').write_text(f'# Page\n\n{text}\n')
        warnings = tmp_path / 'warnings'
        with warnings.open('w') as stream:
            Sphinx(
                docs,
                None,
                tmp_path / 'out',
                tmp_path / 'trees',
                'html',
                confoverrides=dict(
                    extensions=['myst_parser', 'repository'],
                    myst_heading_anchors=3,
                    repository='https://example.org/mmfft',
                ),
                status=None,
                warning=stream,
            ).build()
        pages = tmp_path / 'out'
        return (
            (pages / 'how_to' / 'page.html').read_text(),
            (pages / 'contributing.html').read_text(),
            # Each of several sites of one process registers all anew.
            ''.join(
                line
                for line in warnings.read_text().splitlines(True)
                if 'already registered' not in line
            ),
        )

    yield build_page
    sys.modules.pop('repository')


def test_a_file_outside_of_docs_is_in_the_repository(build):
    page, _, warnings = build('[t](../../tools/train.py) [d](../../tools)')
    assert 'href="https://example.org/mmfft/blob/main/tools/train.py"' in page
    assert 'href="https://example.org/mmfft/tree/main/tools"' in page
    assert not warnings


def test_a_page_shows_a_file_of_the_repository(build):
    page, shown, warnings = build('[style](../../CONTRIBUTING.md#style)')
    assert 'href="../contributing.html#style"' in page
    assert '<h2>Style' in shown
    # Its links are those of its own folder.
    assert 'href="https://example.org/mmfft/blob/main/tools/train.py"' in shown
    assert not warnings


@pytest.mark.parametrize(
    'target',
    ['../../tools/none.py', '../../NONE.md', 'none.md', 'page.md#none']
    + ['../../CONTRIBUTING.md#none'],
)
def test_a_broken_link_is_a_warning(build, target):
    *_, warnings = build(f'[x]({target})')
    assert 'WARNING' in warnings and 'none' in warnings.lower()


def test_the_address_is_that_of_the_package():
    conf = (ROOT / 'docs' / 'conf.py').read_text()
    (address,) = re.findall("^repository = ('.+')$", conf, re.M)
    assert f'\nURL = {address}\n' in (ROOT / 'setup.py').read_text()
