# Copyright (c) mmfft authors. All rights reserved.
"""Choose the operators of mmcv: compiled, or light ones from torchvision."""

import argparse
import sys

from ..errors import ConfigError
from . import describe
from .install import compile_ops, install_light_ops


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog='python -m mmfft.mmcv_ops', description=__doc__
    )
    parser.add_argument(
        'action',
        nargs='?',
        choices=['show', 'light', 'compile'],
        default='show',
        help='show: say which ones are in use (default); light: let every '
        'program find the light ones, and delete compiled ones; compile: '
        "compile the installed mmcv's own for the installed PyTorch",
    )
    action = parser.parse_args().action
    try:
        if action == 'light':
            install_light_ops()
        elif action == 'compile':
            compile_ops()
    except ConfigError as error:
        sys.exit(f'{parser.prog}: error: {error}')
    print(f'mmcv ops: {describe()}')


if __name__ == '__main__':
    main()
