# Copyright (c) mmfft authors. All rights reserved.
"""The demo: pretrain on digits, then detect and segment them in photographs.

Each command is printed before it runs, and can also be run by hand.
"""

import argparse
import shlex
import subprocess
import sys
import time
from pathlib import Path

import rich
from mmengine.config import Config
from mmengine.fileio import load

from mmfft.datasets.digit_scenes import CLASSES
from mmfft.demo import CONFIGS
from mmfft.demo.report import (
    add_result,
    chance_levels,
    contact_sheet,
    results_table,
)

# The checkout, or `mmfft/.mim` of an installed package. Data and results stay
# below the current folder.
ROOT = Path(__file__).resolve().parents[1]
DATA = Path('data/digit_scenes')
WORK_DIR = Path('work_dirs/demo')


def from_here(path):
    """Path below ROOT, relative if the current folder contains it."""
    path, here = ROOT / path, Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def config_of(part):
    return from_here(Path('configs', 'demo', CONFIGS[part]))


def run(tool, *arguments):
    command = [str(one) for one in (from_here(tool), *arguments)]
    print(f'\n$ python {shlex.join(command)}', flush=True)
    result = subprocess.run([sys.executable, *command])
    if result.returncode:
        sys.exit(result.returncode)


def run_part(part):
    start = time.time()
    work_dir, config = WORK_DIR / part, config_of(part)
    run('tools/train.py', config, '--work-dir', work_dir)
    checkpoint = (work_dir / 'last_checkpoint').read_text().strip()
    out = [work_dir / 'metrics.json']
    if part == 'det':
        out.append(work_dir / 'predictions.pkl')
    run(
        'tools/test.py',
        config,
        checkpoint,
        '--work-dir',
        work_dir,
        '--out',
        *out,
    )
    add_result(
        WORK_DIR / 'results.json',
        part,
        load(str(out[0])),
        time.time() - start,
    )


def report():
    results = load(str(WORK_DIR / 'results.json'))
    scenes = DATA / 'scenes' / 'annotations'
    chance = chance_levels(scenes / 'validation', DATA / 'crops' / 'val')
    rich.print(results_table(results, chance))
    predictions = WORK_DIR / 'det' / 'predictions.pkl'
    if predictions.exists():
        sheet = WORK_DIR / 'contact_sheet.png'
        contact_sheet(
            str(predictions),
            str(scenes / 'instances_validation.json'),
            CLASSES,
            str(sheet),
        )
        print(f'pictures      {sheet} (truth left, prediction right)')
    print(f'results       {WORK_DIR / "results.json"}')
    for part in results['seconds']:
        print(f'{part} log, model {WORK_DIR / part}')


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('part', choices=['all', *CONFIGS])
    part = parser.parse_args().part
    run('tools/dataset_converters/digit_scenes.py')
    if part in ('det', 'seg'):
        # The checkpoint of the first part that this one starts from.
        start = Path(Config.fromfile(config_of(part)).checkpoint)
        if not start.is_file():
            run_part('cls')
    for one in CONFIGS if part == 'all' else [part]:
        run_part(one)
    report()


if __name__ == '__main__':
    main()
