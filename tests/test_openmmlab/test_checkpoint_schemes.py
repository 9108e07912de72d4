# Copyright (c) mmfft authors. All rights reserved.
"""What ``import mmfft`` and ``harden()`` change of mmengine's loading."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from checkpoint_forms import (
    BAD,
    FROM_ELSEWHERE,
    GOOD,
    OF_MMENGINE,
    beside,
    write_all,
)

from mmfft.openmmlab.lines import installed_line

MODES = dict(
    alone='',
    imported='import mmfft',
    hardened='import mmfft; mmfft.checkpoints.harden()',
)
LOAD_ALL = """
import json, sys
assert not any(name.startswith('mmfft') for name in sys.modules)
{mode}
from checkpoint_forms import outcome
from mmengine.runner.checkpoint import CheckpointLoader
paths = json.loads(sys.stdin.read())
found = {{
    name: outcome(CheckpointLoader.load_checkpoint, path)
    for name, path in paths.items()
}}
print('FOUND' + json.dumps(found))
"""
# The original mmengine cannot read with PyTorch from 2.6 on what it writes
# itself (arrays of metainfo, training logs); and it cannot read arguments
# that the published training scripts keep. These are let through.
MENDED = re.compile(
    'array|scalar of|Fortran|dtype|no axes|state of RandomState|history'
    '|^Namespace'
)


def write_of_mmengine(folder):
    """Forms that mmengine's own classes are in."""
    from mmengine.config import ConfigDict
    from mmengine.logging import MessageHub

    hub = MessageHub('test_checkpoint_schemes')
    hub.update_scalar('train/loss', 0.5)
    forms = {
        'ConfigDict': beside(ConfigDict(a=1, b=dict(c=[2]))),
        'history of a hub': beside(hub.state_dict()),
    }
    paths = {name: folder / f'{name}.pth' for name in forms}
    for name, path in paths.items():
        forms[name](path)
    return paths


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    """What each form gives in each mode, each in a process of its own."""
    folder = tmp_path_factory.mktemp('forms')
    paths = {**write_all(folder), **write_of_mmengine(folder)}
    tests = str(Path(__file__).resolve().parents[1])
    results = {}
    for mode, code in MODES.items():
        ran = subprocess.run(
            [sys.executable, '-c', LOAD_ALL.format(mode=code)],
            input=json.dumps({k: str(v) for k, v in paths.items()}),
            env={
                **os.environ,
                'PYTHONPATH': os.pathsep.join([tests, *sys.path]),
            },
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        results[mode] = json.loads(ran.stdout.partition('FOUND')[2])
    print(
        {
            mode: f'{sum(o[0] == "value" for o in one.values())} of {len(one)}'
            for mode, one in results.items()
        }
    )
    return results


NAMES = [
    *(*GOOD, *FROM_ELSEWHERE, *OF_MMENGINE, *BAD),
    *('ConfigDict', 'history of a hub'),
]


@pytest.mark.parametrize('form', NAMES)
def test_importing_mmfft_changes_no_load(form, found):
    alone, imported = (found[mode][form] for mode in ('alone', 'imported'))
    if alone[0] == 'error' and imported[0] == 'value':
        assert installed_line() == 'upstream' and MENDED.search(form)
    else:
        # A text may hold the address of an object.
        assert imported[:2] == alone[:2]


@pytest.mark.parametrize('form', NAMES)
def test_hardened_loads_say_the_same_or_why_not(form, found):
    alone, hardened = (found[mode][form] for mode in ('alone', 'hardened'))
    if form == 'parts named as ours':
        assert 'a checkpoint of the DFFormer family has no' in hardened[2]
    elif form in BAD:
        assert hardened[:2] == ['error', 'ConfigError']
        assert re.search(BAD[form][1], hardened[2])
    else:
        assert hardened[0] == 'value'
        if alone[0] == 'value':
            assert hardened == alone


def test_nothing_of_mmengine_is_imported_for_it():
    code = (
        'import sys\n'
        'import mmfft.openmmlab.checkpoint_schemes as schemes\n'
        'before = set(sys.modules)\n'
        'schemes.register_checkpoint_schemes()\n'
        'assert not set(sys.modules) - before\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True)
