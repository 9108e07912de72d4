# Copyright (c) mmfft authors. All rights reserved.
"""Kernels of Triton for filters, interpreted in a process of their own.

That they compile for a GPU is tested in test_benchmarks/test_kernels.py.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmfft.ops import KERNEL_PATHS

triton = pytest.importorskip('triton', reason='no Triton here')
pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).parents[1] / 'interpreted_kernels.py'


@pytest.mark.parametrize('path', KERNEL_PATHS)
def test_equals_the_formula(path):
    if triton.__version__.startswith('3.0.'):
        pytest.skip('a sum in a loop is zero in the interpreter of Triton 3.0')
    subprocess.run(
        [sys.executable, PROGRAM, path],
        env={**os.environ, 'TRITON_INTERPRET': '1'},
        check=True,
    )
