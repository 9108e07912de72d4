# Copyright (c) mmfft authors. All rights reserved.
"""References in docstrings lead somewhere, also where no page shows them."""

import ast
import importlib
import pkgutil
import re
from functools import cache

import pytest
from conftest import ROOT

PACKAGE = ROOT / 'mmfft'
ROLE = re.compile(r':(?:attr|class|data|exc|func|meth|mod):`~?([^`]+)`')
MODULES = sorted(PACKAGE.rglob('*.py'))
# Not those that import Triton, which not every machine has.
FILES = [file for file in MODULES if 'kernels' not in file.parts]


def docstrings(node, owner=''):
    """Each docstring below a node, with the class that it belongs to."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield child.name, ast.get_docstring(child) or ''
            yield from docstrings(child, child.name)
        elif isinstance(child, ast.FunctionDef):
            yield owner, ast.get_docstring(child) or ''


def references(file):
    """Pairs of a name and the class in whose docstring it stands."""
    tree = ast.parse(file.read_text())
    of_module = '', ast.get_docstring(tree) or ''
    for owner, text in (of_module, *docstrings(tree)):
        for name in ROLE.findall(text):
            yield ' '.join(name.split()), owner


def module_of(file):
    parts = file.relative_to(ROOT).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


@cache
def defined_names():
    """Names of everything that mmfft defines, with a dot before them."""
    found = set()
    for file in MODULES:
        module = module_of(file)
        found.add(f'.{module}')
        for node in ast.parse(file.read_text()).body:
            for name in getattr(node, 'targets', [node]):
                name = getattr(name, 'id', getattr(name, 'name', ''))
                found.add(f'.{module}.{name}')
                if isinstance(node, ast.ClassDef):
                    found |= {
                        f'.{module}.{name}.{part.name}'
                        for part in node.body
                        if isinstance(part, ast.FunctionDef)
                    }
    return found


def leads_somewhere(name, file, owner):
    if name.startswith('.'):
        return any(defined.endswith(name) for defined in defined_names())
    module = module_of(file)
    # A page of the reference shows what a package exports.
    package = module.rpartition('.')[0]
    for place in (f'{module}.', f'{module}.{owner}.', f'{package}.', ''):
        try:
            pkgutil.resolve_name(place + name)
        except (AttributeError, ImportError, ValueError):
            continue
        return True
    return False


REFERRING = [file for file in FILES if list(references(file))]


def test_most_files_refer_to_something():
    assert len(REFERRING) > 80


@pytest.mark.parametrize(
    'file', REFERRING, ids=lambda file: str(file.relative_to(PACKAGE))
)
def test_references_lead_somewhere(file):
    importlib.import_module(module_of(file))
    assert not [
        name
        for name, owner in references(file)
        if not leads_somewhere(name, file, owner)
    ]
