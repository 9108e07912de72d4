# Copyright (c) mmfft authors. All rights reserved.
"""Measurements that are not tests: ``python -m benchmarks.op``, and others.

They run from the root of a checkout.
"""

import sys
from pathlib import Path

# For the plain forms in tests/oracle. Not as `tests.oracle`, since packages
# that OpenMMLab requires install a `tests` of their own.
sys.path.append(str(Path(__file__).resolve().parents[1] / 'tests'))
