# Copyright (c) mmfft authors. All rights reserved.
"""What all command lines share: arguments, and how errors are reported."""

import argparse
import contextlib
import sys
from collections.abc import Iterator

from mmengine.config import DictAction
from torch import distributed

from ..checkpoints import harden
from ..errors import ConfigError
from .console import end_interrupted, interrupt_behind


def config_parser(description: str) -> argparse.ArgumentParser:
    """Make a parser for a command line that reads a config.

    Args:
        description (str): Description of the command, for its help.

    Returns:
        argparse.ArgumentParser: Parser with the shared arguments, to which
        the command adds its own.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        'config', help='config file path, or mmfft::NAME for one of ours'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config with pairs key=value; write a '
        'list as key="[a,b]" or key=a,b and a nested one as '
        'key="[(a,b),(c,d)]", quoted and without white space',
    )
    return parser


def run_parser(description: str) -> argparse.ArgumentParser:
    """Extend :func:`config_parser` for a command line that runs a config."""
    parser = config_parser(description)
    parser.add_argument('--work-dir', help='folder for logs and results')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    parser.add_argument(
        '--skip-data-check',
        action='store_true',
        help='run without a check of annotations and folders',
    )
    # torch.distributed.launch passes it in addition to the environment
    # variable, which is the one that is read.
    parser.add_argument('--local_rank', '--local-rank', help=argparse.SUPPRESS)
    return parser


@contextlib.contextmanager
def command_line(program: str) -> Iterator[None]:
    """Context in which every command line does its work.

    No code in a loaded file is executed, see :func:`.harden`. A
    :class:`.ConfigError` is printed as one line, and the exit status is 2.
    After Ctrl-C it is 130, after a line that says how to continue. At the end
    the group of processes is closed: one that still exists when Python exits
    may abort the process after all its work.

    Args:
        program (str): Name of the command line, used in error messages.
    """
    harden()
    try:
        yield
    except ConfigError as error:
        print(f'{program}: error: {error}', file=sys.stderr)
        sys.exit(2)
    except BaseException as error:
        if stop := interrupt_behind(error):
            end_interrupted(program, stop)
        raise
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
