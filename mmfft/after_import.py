# Copyright (c) mmfft authors. All rights reserved.
"""Act on a module of another package when, and only if, it is imported."""

import importlib.util
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from types import ModuleType


def after_import(name: str, action: Callable[[ModuleType], None]) -> None:
    """Call a function with a module as soon as the module is imported.

    The module is not imported for this: some take seconds to import.

    Args:
        name (str): Full name of the module; it need not be installed.
        action (Callable[[ModuleType], None]): Function that is called once,
            with the complete module; immediately if the module has already
            been imported.
    """
    if name in sys.modules:
        action(sys.modules[name])
    else:
        sys.meta_path.insert(0, _AfterImport(name, action))


class _AfterImport(MetaPathFinder):
    def __init__(self, name: str, action: Callable[[ModuleType], None]):
        self.name = name
        self.action = action

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            self.action(module)

        spec.loader.exec_module = exec_module
        return spec
