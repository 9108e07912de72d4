#!/usr/bin/env python
# Copyright (c) mmfft authors. All rights reserved.
"""Measure one row of the table in docs/compatibility.md, and write the table.

`suite` runs `make test` or `make test-upstream`, that of the environment which
runs this. `light TORCH` makes one with that PyTorch and mmengine, without mmcv
and the toolboxes, measures it, and deletes it again; it downloads some
gigabytes. `table` measures nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
import xml.etree.ElementTree as ET
from pathlib import Path

from mmfft.lines import installed_line

ROOT = Path(__file__).resolve().parents[1]
ENVIRON = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
SCRIPT = 'scripts/compatibility.py'
PAGE = ROOT / 'docs' / 'compatibility.md'
RECORDS = ROOT / 'docs' / 'compatibility.json'
BEGIN, END = '<!-- table -->', '<!-- end of table -->'

TESTS = {
    'ops': ['tests/test_ops', 'tests/test_mixers'],
    'backbones': [
        'tests/test_ops',
        'tests/test_mixers',
        'tests/test_backbones',
    ],
}
NAMES = {
    'ops': 'ops and mixers',
    'backbones': 'ops, mixers and backbones',
    'all': 'the whole suite',
}

# Run by the Python that is measured.
FACTS = """
import importlib, json, platform, sys
from importlib.metadata import PackageNotFoundError, version
modules = ['torch', 'torchvision', 'numpy', 'timm', 'mmengine', 'mmcv',
           'mmcv._ext', 'mmpretrain', 'mmdet', 'mmseg', 'mmfft']
facts = dict(python=platform.python_version(), imports={})
for name in modules:
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if (error.name or '').partition('.')[0] != name.partition('.')[0]:
            raise
        continue
    facts['imports'][name] = getattr(module, '__version__', 'ops')
facts['line'] = sys.modules['mmfft.lines'].installed_line()
print(json.dumps(facts))
"""


def run(python: str, tests: str, report: Path) -> None:
    subprocess.run(
        [python, '-m', 'pytest', '-q', *TESTS[tests], f'--junitxml={report}'],
        cwd=ROOT,
        env=ENVIRON,
    )


def describe(python: str, tests: str, command: str, report: Path) -> dict:
    """What is installed, and what pytest wrote of a run in it."""
    output = subprocess.check_output(
        [python, '-W', 'ignore', '-c', FACTS], env=ENVIRON, text=True
    )
    facts = json.loads(output.splitlines()[-1])
    (suite,) = ET.parse(report).getroot().iter('testsuite')
    failed = [
        f'{case.get("classname")}::{case.get("name")}'
        for case in suite.iter('testcase')
        if case.find('failure') is not None or case.find('error') is not None
    ]
    counts = {
        key: int(suite.get(key))
        for key in ('tests', 'failures', 'errors', 'skipped')
    }
    return {
        **facts,
        **counts,
        'failed': failed,
        'run': NAMES[tests],
        'command': command,
    }


def measure_light(torch: str, line: str, tests: str) -> dict:
    requirements = ROOT / 'requirements'
    mmengine = {'onedl': 'onedl-mmengine', 'upstream': 'mmengine'}[line]
    # OneDL's mmengine imports OpenCV without requiring it.
    packages = [mmengine, 'opencv-python-headless', 'numpy', 'hypothesis']
    packages += ['pytest', 'pytest-timeout']
    if tests != 'ops':  # timm, which the backbones import, wants torchvision
        packages += ['timm', 'torchvision']
    with tempfile.TemporaryDirectory() as folder:
        environment = Path(folder) / 'venv'
        pins = Path(folder) / 'pins.txt'
        pins.write_text(
            ''.join(
                pin
                for name in ('tested.txt', f'{line}.txt')
                for pin in open(requirements / name)
                if not pin.startswith(('torch==', 'torchvision=='))
            )
        )
        venv.create(environment, with_pip=True)
        python = str(environment / 'bin' / 'python')
        subprocess.run(
            [python, '-m', 'pip', 'install', '-q', '-c', str(pins)]
            + [f'torch=={torch}', *packages],
            check=True,
        )
        command = f'python {SCRIPT} light {torch}'
        command += '' if line == 'onedl' else f' --line {line}'
        command += '' if tests == 'backbones' else f' --tests {tests}'
        report = Path(folder) / 'report.xml'
        run(python, tests, report)
        return describe(python, tests, command, report)


def result(record: dict) -> str:
    failed = record['failures'] + record['errors']
    passed = record['tests'] - failed - record['skipped']
    parts = [f'{passed} passed']
    if failed:
        parts.append(f'**{failed} failed**')
    if record['skipped']:
        parts.append(f'{record["skipped"]} skipped')
    return f'{record["run"]}: {", ".join(parts)}'


def table(records: list[dict]) -> str:
    rows = [
        '| OpenMMLab | PyTorch, torchvision | Python | NumPy | run | by |',
        '|---|---|---|---|---|---|',
    ]
    for record in records:
        found = record['imports']
        names = ('mmengine', 'mmcv', 'mmpretrain', 'mmdet', 'mmseg')
        versions = [f'{n} {found[n]}' for n in names if n in found]
        rows.append(
            f'| {record["line"]}: {", ".join(versions)} | {found["torch"]}, '
            f'{found.get("torchvision", "none")} | {record["python"]} | '
            f'{found["numpy"]} | {result(record)} | `{record["command"]}` |'
        )
    return '\n'.join(rows)


def write(record: dict | None) -> None:
    records = json.loads(RECORDS.read_text()) if RECORDS.exists() else []
    if record:
        command = record['command']
        records = [r for r in records if r['command'] != command] + [record]
    records.sort(key=lambda r: (r['line'], r['run'], r['command']))
    RECORDS.write_text(json.dumps(records, indent=1) + '\n')
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f'{before}{BEGIN}\n\n{table(records)}\n\n{END}{after}')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='what', required=True)
    commands.add_parser('suite', help='run `make test` here')
    light = commands.add_parser('light', help='measure a new environment')
    light.add_argument('torch', help='version of PyTorch')
    light.add_argument(
        '--line', choices=['onedl', 'upstream'], default='onedl'
    )
    light.add_argument(
        '--tests', choices=['ops', 'backbones'], default='backbones'
    )
    commands.add_parser('table', help='write the table anew')
    args = parser.parse_args()
    record = None
    if args.what == 'suite':
        line = installed_line()
        target = 'test' if line == 'onedl' else f'test-{line}'
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / 'report.xml'
            arguments = f'PYTEST_ARGS=--junitxml={report}'
            subprocess.run(['make', target, arguments], cwd=ROOT)
            if not report.exists():
                raise SystemExit(f'make {target} ended before the tests')
            record = describe(sys.executable, 'all', f'make {target}', report)
    elif args.what == 'light':
        record = measure_light(args.torch, args.line, args.tests)
    write(record)


if __name__ == '__main__':
    main()
