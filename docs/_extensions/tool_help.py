# Copyright (c) mmfft authors. All rights reserved.
"""The directive ``tool``: what a command line prints for ``--help``."""

import contextlib
import io
import os
import runpy
import sys
from pathlib import Path
from unittest import mock

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[2]


def read_help(name: str) -> str:
    """Run a command line with ``--help``, within this process.

    Args:
        name (str): Path of a script in the repository, such as
            ``'tools/train.py'``, or name of a package, such as
            ``'mmfft.predict'``.

    Returns:
        str: What it prints on a screen of 80 columns.

    Raises:
        RuntimeError: If it prints no help.
    """
    out = io.StringIO()
    # Without colours, which argparse has since Python 3.14.
    environment = dict(COLUMNS='80', NO_COLOR='1')
    with (
        mock.patch.object(sys, 'argv', [name, '--help']),
        mock.patch.dict(os.environ, environment),
        contextlib.redirect_stdout(out),
        contextlib.suppress(SystemExit),
    ):
        if name.endswith('.py'):
            runpy.run_path(str(ROOT / name), run_name='__main__')
        else:
            runpy.run_module(name, run_name='__main__', alter_sys=True)
    if not out.getvalue().startswith('usage:'):
        raise RuntimeError(f'{name} --help printed no help')
    return out.getvalue()


class Tool(SphinxDirective):
    """The help of a command line, as a block of text."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Make the block."""
        (name,) = self.arguments
        if name.endswith('.py'):
            self.env.note_dependency(ROOT / name)
        try:
            text = read_help(name)
        except Exception as error:
            raise self.error(f'no help of {name}: {error}') from error
        return [nodes.literal_block(text, text, language='text')]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register it with Sphinx."""
    app.add_directive('tool', Tool)
    # It replaces the arguments of the process.
    return dict(parallel_read_safe=False)
