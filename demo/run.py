# Copyright (c) mmfft authors. All rights reserved.
"""The demo: pretrain on digits, then detect and segment them in photographs.

Each command is printed before it runs, and can also be run by hand. After
Ctrl-C or a kill, the same call goes on where it stopped.
"""

import argparse
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import rich

from mmfft.demo import CONFIGS
from mmfft.demo.jobs import CommandFailed, cores, only_call, run_jobs
from mmfft.demo.parts import Demo
from mmfft.demo.report import (
    chance_levels,
    contact_sheet,
    read_results,
    results_table,
)
from mmfft.engine import command_line
from mmfft.engine.console import Terminated

# The checkout, or `mmfft/.mim` of an installed package. Data and results stay
# below the current folder.
ROOT = Path(__file__).resolve().parents[1]
DATA = Path('data/digit_scenes')


def make_data(demo):
    command = [str(demo.from_here('tools/dataset_converters/digit_scenes.py'))]
    print(f'$ python {shlex.join(command)}', flush=True)
    status = subprocess.run([sys.executable, *command]).returncode
    if status:
        sys.exit(status)


def report(demo):
    results = read_results(demo.results)
    scenes = DATA / 'scenes' / 'annotations'
    chance = chance_levels(scenes / 'validation', DATA / 'crops' / 'val')
    print()
    rich.print(results_table(results, chance))
    predicted = dict(
        classified=demo.work_dir / 'cls' / 'predictions.pkl',
        detected=demo.work_dir / 'det' / 'predictions.pkl',
        labelled=demo.work_dir / 'seg' / 'labels',
    )
    sheet = demo.work_dir / 'contact_sheet.png'
    contact_sheet(
        sheet, DATA, **{k: v for k, v in predicted.items() if v.exists()}
    )
    page = [str(demo.from_here('demo/app.py'))]
    if demo.work_dir.name != 'demo':
        page += ['--work-dir', str(demo.work_dir)]
    folders = ', '.join(results['commands'])
    print(f'results       {demo.results}')
    print(f'logs, models  {demo.work_dir}/{{{folders}}}')
    print(f'picture       {sheet} (truth left, prediction right)')
    print(f'your images   python {shlex.join(page)} (needs the extra app)')


def terminate(number, frame):
    raise Terminated


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('part', choices=['all', *CONFIGS['demo']])
    parser.add_argument(
        '--full',
        action='store_true',
        help='train longer, in work_dirs/demo-full',
    )
    args = parser.parse_args()
    demo = Demo(ROOT, 'demo-full' if args.full else 'demo')
    signal.signal(signal.SIGTERM, terminate)
    with command_line('run.py'), only_call(demo.work_dir) as lock:
        try:
            make_data(demo)
            asked = list(demo.parts) if args.part == 'all' else [args.part]
            for stage in demo.plan(asked):
                jobs = [demo.job(part) for part in stage]
                run_jobs(jobs, cores(), keep_open=[lock])
            report(demo)
        except CommandFailed as error:
            print(error, file=sys.stderr)
            sys.exit(error.status)
        except KeyboardInterrupt as stop:
            run = demo.from_here('demo/run.py')
            call = shlex.join([str(run), *sys.argv[1:]])
            stop.args = (f'in {demo.work_dir}.\nGo on with: python {call}',)
            raise


if __name__ == '__main__':
    main()
