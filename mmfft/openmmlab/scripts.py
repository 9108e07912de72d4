# Copyright (c) mmfft authors. All rights reserved.
"""The scripts that the toolboxes install beside their packages."""

import runpy
from importlib.util import find_spec
from pathlib import Path


def load_script(package: str, name: str) -> dict:
    """Run a toolbox's script up to its ``main()``.

    Args:
        package (str): Toolbox, such as ``'mmdet'``.
        name (str): Path below the toolbox's ``tools``.

    Returns:
        dict: Names that the script defines.

    Raises:
        ImportError: If the toolbox was installed without its tools, or the
            script needs a package that is not installed.
    """
    spec = find_spec(package)
    path = Path(spec.origin).parent / '.mim' / 'tools' / name
    if not path.is_file():
        raise ImportError(
            f'{package} was installed without its tools: {path} does not exist'
        )
    return runpy.run_path(str(path))
