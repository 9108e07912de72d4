#!/usr/bin/env python3
# Copyright (c) mmfft authors. All rights reserved.
"""Write the table of floors in CONTRIBUTING.md from the import contracts.

The floors are those that `make lint` enforces (pyproject.toml, importlinter);
what lives in a room is the first line of its docstring. With --check, only
say whether the table is up to date.
"""

import argparse
import ast
import re
import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'CONTRIBUTING.md'


def purpose(room):
    folder = ROOT / 'mmfft' / room
    file = folder / '__init__.py' if folder.is_dir() else f'{folder}.py'
    docstring = ast.get_docstring(ast.parse(Path(file).read_text()))
    line = ' '.join(docstring.split('\n\n')[0].split()).rstrip('.')
    return re.sub(r'(:\w+:)?`+(.+?)`+', r'`\2`', line)


def table():
    config = tomllib.loads((ROOT / 'pyproject.toml').read_text())
    layers, core, *_ = config['tool']['importlinter']['contracts']
    below = {name.removeprefix('mmfft.') for name in core['source_modules']}
    rows = ['| floor | room | what lives there |', '|---|---|---|']
    for number, floor in enumerate(reversed(layers['layers'])):
        for room in floor.split(' | '):
            name = f'core {number}' if room in below else f'mm {number}'
            rows.append(f'| {name} | `{room}` | {purpose(room)} |')
    return '\n'.join(rows) + '\n'


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true')
    arguments = parser.parse_args()
    before = PAGE.read_text()
    found = re.search(r'\| floor \|.*?\n(?=\n)', before, re.DOTALL)
    after = before.replace(found[0], table())
    if arguments.check and after != before:
        sys.exit('CONTRIBUTING.md: the table is out of date: `make format`')
    PAGE.write_text(after)


if __name__ == '__main__':
    main()
