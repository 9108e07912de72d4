# Copyright (c) mmfft authors. All rights reserved.
"""What every command line takes and does its work in."""

import argparse
import contextlib
import sys
from collections.abc import Iterator

from mmengine.config import DictAction
from torch import distributed

from ..checkpoints import harden
from ..errors import ConfigError


def config_parser(description: str) -> argparse.ArgumentParser:
    """A parser with what every command line that reads a config takes.

    Args:
        description (str): What the command does.

    Returns:
        argparse.ArgumentParser: To be given the command's own arguments.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        'config', help='config file path, or mmfft::NAME for one of ours'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config, key-value pairs as in '
        'xxx=yyy; a list as key="[a,b]" or key=a,b, nested ones as '
        'key="[(a,b),(c,d)]", quoted and without white space',
    )
    return parser


def run_parser(description: str) -> argparse.ArgumentParser:
    """:func:`config_parser` for the command lines that run a config."""
    parser = config_parser(description)
    parser.add_argument('--work-dir', help='the dir to save logs and results')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher',
    )
    # torch.distributed.launch passes it, besides the environment variable
    # that is read.
    parser.add_argument('--local_rank', '--local-rank', help=argparse.SUPPRESS)
    return parser


@contextlib.contextmanager
def command_line(program: str) -> Iterator[None]:
    """What every command line does its work in.

    No file that it loads is executed, see :func:`harden`. A
    :class:`ConfigError` is printed as one line; the exit status is 2. At the
    end processes part in order: a group that is still there when Python ends
    may abort the process after all its work.

    Args:
        program (str): Name of the command line.
    """
    harden()
    try:
        yield
    except ConfigError as error:
        print(f'{program}: error: {error}', file=sys.stderr)
        sys.exit(2)
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
