# Copyright (c) mmfft authors. All rights reserved.
"""Formulas in MathML, made by docutils, that need no script from a network."""

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)


def convert(node: nodes.math | nodes.math_block, as_block: bool) -> str:
    """Write a formula in MathML; warn of what docutils does not know."""
    try:
        return tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        logger.warning('formula: %s', error, location=node)
        return ''


def show_inline(translator: HTML5Translator, node: nodes.math) -> None:
    """Write a formula in a line."""
    translator.body.append(convert(node, as_block=False))
    raise nodes.SkipNode


def show_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula in a line of its own."""
    # furo's box around it would scroll if limits of sums rise over its edge.
    style = dict(CLASS='math', STYLE='padding: 0.5em 0')
    translator.body.append(translator.starttag(node, 'div', **style))
    translator.body.append(convert(node, as_block=True))
    translator.body.append('</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register it with Sphinx."""
    app.add_html_math_renderer(
        'mathml', (show_inline, None), (show_block, None)
    )
    return dict(parallel_read_safe=True, parallel_write_safe=True)
