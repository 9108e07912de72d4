# Copyright (c) mmfft authors. All rights reserved.
"""Data in other forms into those that the toolboxes read."""
