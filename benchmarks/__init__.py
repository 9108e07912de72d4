# Copyright (c) mmfft authors. All rights reserved.
"""Measurements of speed and memory, such as ``python -m benchmarks.op``.

Run them from the root of a checkout.
"""

import sys
from pathlib import Path

# For tests/oracle, which cannot be imported as `tests.oracle`: model-index,
# which OpenMMLab requires, installs a package with the name `tests`.
sys.path.append(str(Path(__file__).resolve().parents[1] / 'tests'))
