# Copyright (c) mmfft authors. All rights reserved.
"""The papers' formulas, written plainly: what mmfft is held to.

Nothing here is fast, and nothing is imported from what it judges, but for
the classes whose FLOPs are counted.
"""
