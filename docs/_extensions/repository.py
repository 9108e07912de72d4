# Copyright (c) mmfft authors. All rights reserved.
"""Pages and links of the site that lead into the repository.

A page that is only the comment ``<!-- PATH.md -->`` shows this file of the
repository. A link to a file outside of ``docs/`` leads to the page that shows
it, or else to the repository; if there is no such file, Sphinx reports it as
it reports any other broken link.
"""

import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).resolve().parents[2]
_SHOWN = re.compile(r'<!-- (\S+\.md) -->\s*')
# The target of a link or picture, unless it is an address or an anchor.
_TARGET = re.compile(r'(?<=\]\()(?![a-z]+:|#)[^)\s]+(?=\))')


def shown_file(page: Path) -> Path | None:
    """The file that a page shows instead of its own text, if it does."""
    found = _SHOWN.fullmatch(page.read_text(encoding='utf-8'))
    return ROOT / found[1] if found else None


def show_file(app: Sphinx, docname: str, source: list[str]) -> None:
    """Put the text of the file into its page, with links that fit there."""
    page = Path(app.env.doc2path(docname))
    file = page.suffix == '.md' and shown_file(page)
    if file:
        app.env.note_dependency(file)
        source[0] = _TARGET.sub(
            lambda found: os.path.relpath(file.parent / found[0], page.parent),
            file.read_text(encoding='utf-8'),
        )


class RepositoryLinks(SphinxTransform):
    """Leads links out of ``docs/`` to other pages, or to the repository."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        pages = {}
        for docname in self.env.found_docs:
            page = Path(self.env.doc2path(docname))
            if page.suffix == '.md' and (file := shown_file(page)):
                pages[file] = docname
        folder = Path(self.env.doc2path(self.env.docname)).parent
        for node in list(self.document.findall(self._is_link)):
            # MyST takes a page for a document, its path without the suffix.
            is_page = node.get('refdomain') == 'doc'
            target, _, anchor = node['reftarget'].partition('#')
            path = Path(os.path.normpath(folder / target))
            if is_page:
                path = Path(self.env.srcdir, f'{target}.md')
                anchor = node.get('reftargetid') or ''
            if path in pages:
                node['reftarget'] = pages[path]
            elif path.exists() and not path.is_relative_to(self.env.srcdir):
                kind = 'tree' if path.is_dir() else 'blob'
                address = '/'.join(
                    (self.config.repository, kind, 'main')
                    + path.relative_to(ROOT).parts
                )
                link = nodes.reference(
                    refuri=address + (f'#{anchor}' if anchor else '')
                )
                link += node.children
                node.replace_self(link)

    @staticmethod
    def _is_link(node: nodes.Node) -> bool:
        return (
            isinstance(
                node, (addnodes.pending_xref, addnodes.download_reference)
            )
            and node.get('reftype') == 'myst'
        )


def setup(app: Sphinx) -> dict[str, bool]:
    """Register it with Sphinx."""
    app.add_config_value('repository', '', 'env')
    app.connect('source-read', show_file)
    app.add_transform(RepositoryLinks)
    return dict(parallel_read_safe=True)
