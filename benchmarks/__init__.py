# Copyright (c) mmfft authors. All rights reserved.
"""Measurements that are not tests: ``python -m benchmarks.op``, and others.

They run from the root of a checkout.
"""
