# Copyright (c) mmfft authors. All rights reserved.
"""What the shell scripts start, with a stand-in for what they call."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

TOOLS = ROOT / 'tools'
# An argument that must arrive as it is.
ODD = "a b='$HOME' *"
ENVIRONMENT = (
    'CPUS_PER_TASK GPUS GPUS_PER_NODE MASTER_ADDR MAX_RESTARTS NNODES '
    'NODE_RANK PORT SRUN_ARGS'
).split()


@pytest.fixture
def start(tmp_path):
    """Run a script; returns what it called ``python`` or ``srun`` with."""
    bin_dir = tmp_path / 'bin'
    bin_dir.mkdir()
    code = 'import json, sys; print(json.dumps(sys.argv[1:]))'
    for name in ('python', 'srun'):
        fake = bin_dir / name
        command = shlex.join([sys.executable, '-c', code])
        fake.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        fake.chmod(0o755)

    def run(script, *args, **env):
        kept = {k: v for k, v in os.environ.items() if k not in ENVIRONMENT}
        kept['PATH'] = f'{bin_dir}{os.pathsep}{kept["PATH"]}'
        kept.pop('PYTHON', None)
        output = subprocess.check_output(
            [TOOLS / script, *map(str, args)],
            env={**kept, **env},
            cwd=tmp_path,
            text=True,
        )
        return json.loads(output)

    return run


def test_shellcheck():
    scripts = [*TOOLS.rglob('*.sh'), *(ROOT / 'scripts').glob('*.sh')]
    scripts += (ROOT / 'benchmarks').glob('*.sh')
    assert len(scripts) > 6
    scripts += (ROOT / '.ci').glob('run')  # not in the source distribution
    shellcheck = Path(sys.executable).with_name('shellcheck')
    result = subprocess.run(
        [shellcheck, *scripts],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    'script, least',
    [
        ('dist_train', 2),
        ('dist_test', 3),
        ('slurm_train', 4),
        ('slurm_test', 4),
    ],
)
def test_too_few_arguments(script, least):
    result = subprocess.run(
        [TOOLS / f'{script}.sh', *'abcd'[: least - 1]],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert result.returncode == 2
    assert result.stderr.startswith('usage: ')


def test_one_machine(start):
    called = start('dist_train.sh', 'c.py', 2, '--resume', ODD)
    assert called == [
        f'{TOOLS}/torchrun.py',
        *('--standalone', '--local-addr', 'localhost'),
        *('--nnodes', '1', '--nproc-per-node', '2', '--max-restarts', '0'),
        *(f'{TOOLS}/train.py', 'c.py', '--launcher', 'pytorch'),
        *('--resume', ODD),
    ]
    called = start('dist_test.sh', 'c.py', 'a.pth', 4, '--out', ODD)
    assert called[-11:] == [
        *('--nproc-per-node', '4', '--max-restarts', '0'),
        *(f'{TOOLS}/test.py', 'c.py', 'a.pth', '--launcher', 'pytorch'),
        *('--out', ODD),
    ]


def test_several_machines(start):
    env = dict(NNODES='2', NODE_RANK='1', MASTER_ADDR='node0', PORT='1234')
    called = ' '.join(start('dist_train.sh', 'c.py', 8, **env))
    assert '--node-rank 1 --master-addr node0 --master-port 1234' in called
    assert '--nnodes 2' in called and 'standalone' not in called
    called = ' '.join(start('dist_train.sh', 'c.py', 8, NNODES='2'))
    assert '--node-rank 0 --master-addr 127.0.0.1' in called
    env['MAX_RESTARTS'] = '3'
    called = ' '.join(start('dist_train.sh', 'c.py', 8, **env))
    assert '--rdzv-backend c10d' in called and '--max-restarts 3' in called
    assert '--rdzv-endpoint node0:1234' in called
    assert 'is_host=false' in called
    env['NODE_RANK'] = '0'
    assert 'is_host=true' in ' '.join(start('dist_train.sh', 'c', 8, **env))


def test_slurm(start):
    called = start('slurm_train.sh', 'gpu', 'my job', 'c.py', 'w', ODD)
    assert called == [
        *('--partition', 'gpu', '--job-name', 'my job'),
        *('--gres', 'gpu:8', '--ntasks', '8', '--ntasks-per-node', '8'),
        *('--cpus-per-task', '5', '--kill-on-bad-exit=1'),
        *('python', '-u', f'{TOOLS}/train.py', 'c.py', '--work-dir', 'w'),
        *(ODD, '--launcher', 'slurm'),
    ]
    called = start(
        'slurm_test.sh',
        'gpu',
        'job',
        'c.py',
        'a.pth',
        GPUS='2',
        CPUS_PER_TASK='3',
        SRUN_ARGS='--time 10 --exclude=n1',
    )
    assert called == [
        *('--partition', 'gpu', '--job-name', 'job'),
        *('--gres', 'gpu:2', '--ntasks', '2', '--ntasks-per-node', '2'),
        *('--cpus-per-task', '3', '--kill-on-bad-exit=1'),
        *('--time', '10', '--exclude=n1'),
        *('python', '-u', f'{TOOLS}/test.py', 'c.py', 'a.pth'),
        *('--launcher', 'slurm'),
    ]
    called = start(
        *('slurm_train.sh', 'gpu', 'job', 'c.py', 'w'),
        GPUS='16',
        GPUS_PER_NODE='4',
    )
    assert called[4:10] == [
        *('--gres', 'gpu:4', '--ntasks', '16', '--ntasks-per-node', '4')
    ]
