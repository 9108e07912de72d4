# Copyright (c) mmfft authors. All rights reserved.
"""How an optimizer is set up for the parameters of a model."""

from .layer_decay import LayerDecayOptimWrapperConstructor

__all__ = ['LayerDecayOptimWrapperConstructor']
