#!/usr/bin/env python
# Copyright (c) mmfft authors. All rights reserved.
"""Measure one row of docs/get_started/compatibility.md, and write its table.

`run` installs an environment by scripts/install.sh in a temporary folder, runs
the tests in it, notes the result and deletes the environment. `table` measures
nothing. Both need only Python.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'get_started' / 'compatibility.md'
RECORDS = ROOT / 'docs' / 'get_started' / 'compatibility.json'
BEGIN, END = '<!-- table -->', '<!-- end of table -->'

# Sets of tests, their names in the table, and their arguments of pytest.
TESTS = {
    'all': ('the whole suite', []),
    'quick': ('all but slow tests', ['-m', 'not slow']),
    'slow': ('the slow tests', ['-m', 'slow']),
}

# Run by the Python that is measured.
FACTS = """
import json, platform
from mmfft.collect_env import mmfft_env
env = mmfft_env()
env['mmfft'] = env['mmfft'].partition(' ')[0]  # without its folder
print(json.dumps(dict(python=platform.python_version(), env=env)))
"""


def measure(args: argparse.Namespace, command: str) -> dict:
    """Install, test and describe one environment."""
    with tempfile.TemporaryDirectory() as folder:
        venv, report = Path(folder, 'venv'), Path(folder, 'report.xml')
        python = str(venv / 'bin' / 'python')
        environ = {**os.environ, 'OMP_NUM_THREADS': '1'}
        subprocess.run(
            ['bash', ROOT / 'scripts' / 'install.sh'],
            env={
                **environ,
                'LINE': args.line,
                'OPS': args.ops,
                'PYTHON': args.python,
                'VENV': str(venv),
            },
            check=True,
        )
        if args.packages:
            subprocess.run(
                [venv / 'bin' / 'uv', 'pip', 'install', '--python', python]
                + args.packages,
                check=True,
            )
            # A test would find that this is no longer what install.sh made.
            (venv / 'install.log').unlink()
        name, arguments = TESTS[args.tests]
        subprocess.run(
            [python, '-m', 'pytest', '-q', '-n', str(args.workers)]
            + [*arguments, f'--junitxml={report}'],
            cwd=ROOT,
            env=environ,
        )
        facts = subprocess.check_output(
            [python, '-W', 'ignore', '-c', FACTS], cwd=ROOT, text=True
        )
        return {
            'command': command,
            'run': name,
            **json.loads(facts.splitlines()[-1]),
            **read_report(report),
        }


def read_report(report: Path) -> dict:
    """Read the counts that pytest wrote, and which tests failed."""
    if not report.exists():
        raise SystemExit('pytest ended before it wrote its report')
    (suite,) = ET.parse(report).getroot().iter('testsuite')
    counts = {
        key: int(suite.get(key))
        for key in ('tests', 'failures', 'errors', 'skipped')
    }
    failed = [
        f'{case.get("classname")}::{case.get("name")}'
        for case in suite.iter('testcase')
        if case.find('failure') is not None or case.find('error') is not None
    ]
    return {**counts, 'failed': failed}


def result(record: dict) -> str:
    failed = record['failures'] + record['errors']
    passed = record['tests'] - failed - record['skipped']
    parts = [f'{passed:,} passed']
    if failed:
        parts.append(f'**{failed} failed**')
    if record['skipped']:
        parts.append(f'{record["skipped"]} skipped')
    return f'{record["run"]}: {", ".join(parts)}'


def table(records: list[dict]) -> str:
    rows = [
        '| OpenMMLab | ops | Python | PyTorch, torchvision | NumPy | result '
        '| arguments |',
        '|---|---|---|---|---|---|---|',
    ]
    for record in records:
        env = record['env']
        arguments = record['command'].partition(' run')[2].strip()
        rows.append(
            f'| {env["OpenMMLab line"]} | {env["mmcv ops"].partition(" ")[0]} '
            f'| {record["python"]} | {env["torch"]}, {env["torchvision"]} '
            f'| {env["numpy"]} | {result(record)} '
            f'| {f"`{arguments}`" if arguments else ""} |'
        )
    return '\n'.join(rows)


def write(record: dict | None) -> None:
    """Replace the older record of the same command, and write the table."""
    records = json.loads(RECORDS.read_text()) if RECORDS.exists() else []
    if record:
        command = record['command']
        records = [r for r in records if r['command'] != command] + [record]
    records.sort(
        key=lambda r: (
            r['env']['OpenMMLab line'],
            [int(number) for number in r['python'].split('.')],
            r['command'],
        )
    )
    RECORDS.write_text(json.dumps(records, indent=1) + '\n')
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f'{before}{BEGIN}\n\n{table(records)}\n\n{END}{after}')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='what', required=True)
    run = commands.add_parser('run', help='measure one environment')
    run.add_argument('--line', choices=['onedl', 'upstream'], default='onedl')
    run.add_argument('--ops', choices=['light', 'compiled'], default='light')
    run.add_argument('--python', default='python3.11')
    run.add_argument('--tests', choices=list(TESTS), default='all')
    run.add_argument('--workers', type=int, default=2)
    run.add_argument(
        '--with',
        nargs='+',
        default=[],
        dest='packages',
        help='packages to install instead of the pinned ones, such as '
        'torch==2.14.1 torchvision',
    )
    commands.add_parser('table', help='rewrite the table')
    args = parser.parse_args()
    command = shlex.join(['python', 'scripts/compatibility.py', *sys.argv[1:]])
    write(measure(args, command) if args.what == 'run' else None)


if __name__ == '__main__':
    main()
