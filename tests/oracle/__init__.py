# Copyright (c) mmfft authors. All rights reserved.
"""The formulas of the papers in plain form, with which mmfft is compared.

Nothing here is optimized, and nothing imports the code that it is compared
with, except for the classes whose FLOPs are counted.
"""
