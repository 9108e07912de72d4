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
    import tool_help

    nocolor()
    monkeypatch.setattr(repository, 'ROOT', tmp_path)
    monkeypatch.setattr(tool_help, 'ROOT', tmp_path)
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
                    extensions=[
                        'mathml',
                        'myst_parser',
                        'repository',
                        'tool_help',
                    ],
                    html_math_renderer='mathml',
                    myst_enable_extensions=['dollarmath'],
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
    for name in ('mathml', 'repository', 'tool_help'):
        sys.modules.pop(name)


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


def test_formulas_need_no_script(build):
    page, _, warnings = build('Of $H \\times W$:\n\n$$\nv = 0, \\ldots, n\n$$')
    assert page.count('<math ') == 2
    assert 'display="block"' in page
    assert 'src="http' not in page
    assert not warnings


@pytest.mark.parametrize('formula', [r'$\unknown$', '$$\n\\unknown\n$$'])
def test_a_formula_that_cannot_be_shown_is_a_warning(build, formula):
    *_, warnings = build(formula)
    assert r'formula: Unknown LaTeX command "\unknown"' in warnings


def test_a_page_shows_the_help_of_a_tool(build, tmp_path):
    argv = list(sys.argv)
    (tmp_path / 'tools' / 'train.py').write_text(
        'import argparse\n'
        "parser = argparse.ArgumentParser(description='Trains.')\n"
        "parser.add_argument('--amp', action='store_true', help='halves')\n"
        'parser.parse_args()\n'
    )
    page, _, warnings = build('```{tool} tools/train.py\n```')
    assert 'usage: train.py [-h] [--amp]' in page and 'halves' in page
    assert not warnings
    assert sys.argv == argv


@pytest.mark.parametrize(
    ('name', 'words'),
    [
        ('tools/none.py', 'none.py'),
        ('tools/train.py', 'tools/train.py --help printed no help'),
    ],
)
def test_a_tool_without_help_is_a_warning(build, name, words):
    *_, warnings = build(f'```{{tool}} {name}\n```')
    assert f'no help of {name}' in warnings and words in warnings


def test_every_tool_is_in_the_reference():
    page = (ROOT / 'docs' / 'reference' / 'command_lines.md').read_text()
    tools = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / 'tools').rglob('*.py')
    }
    shown = re.findall(r'^```\{tool\} (\S+)$', page, re.M)
    assert len(shown) == len(set(shown))
    assert set(shown) == tools | {'mmfft.mmcv_ops', 'mmfft.predict'}


def test_every_package_that_exports_names_is_in_the_reference():
    pages = ''.join(
        page.read_text() for page in (ROOT / 'docs' / 'reference').glob('*.md')
    )
    exporting = {
        f'mmfft.{package.parent.name}'
        for package in (ROOT / 'mmfft').glob('*/__init__.py')
        if re.search(r'^__all__ ', package.read_text(), re.M)
    }
    assert len(exporting) > 8
    shown = re.findall(r'automodule:: (\S+)$', pages, re.M)
    assert exporting <= set(shown)


def test_a_broken_link_in_a_shown_file_is_a_warning(build, tmp_path):
    with (tmp_path / 'CONTRIBUTING.md').open('a') as file:
        file.write('\n[x](tools/none.py)\n')
    *_, warnings = build('')
    assert 'tools/none.py' in warnings


def test_the_readmes_are_shown_so_that_their_links_are_checked():
    shown = {
        file
        for page in (ROOT / 'docs').rglob('*.md')
        for file in re.findall('^<!-- (.+) -->$', page.read_text(), re.M)
    }
    families = {
        f'configs/{readme.parent.name}/README.md'
        for readme in (ROOT / 'configs').glob('*/README.md')
    }
    assert families | {'README.md', 'CONTRIBUTING.md'} <= shown
