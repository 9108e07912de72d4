# Copyright (c) mmfft authors. All rights reserved.
"""Ranks of a distributed run, forked from a process that has the imports.

A launcher starts new processes, whose imports take longer than the few steps
that a test trains.
"""

import multiprocessing
import os
import runpy
import socket
import sys
from pathlib import Path

from conftest import ROOT

FORKS = multiprocessing.get_context('forkserver')
FORKS.set_forkserver_preload(
    ['mmfft.engine', 'mmdet.apis', 'mmpretrain.apis', 'mmseg.apis']
)


def _run(path, args, cwd, env, log):
    os.environ.update(env)
    os.chdir(cwd)
    with open(log, 'w') as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    sys.argv = [path, *args]
    runpy.run_path(path, run_name='__main__')


def run_ranks(tool, *args, cwd, ranks=2):
    """Run one of our command lines as ``dist_train.sh`` does.

    Args:
        tool (str): Path of the command line below ``tools``.
        *args: Arguments of the command line, without the launcher.
        cwd (Path): Folder in which to run; the logs of the ranks stay there.
        ranks (int): Number of processes. Defaults to 2.

    Returns:
        str: Output of the first rank.
    """
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    args = [*map(str, args), '--launcher', 'pytorch']
    logs = [Path(cwd) / f'rank_{rank}.log' for rank in range(ranks)]
    processes = []
    for rank, log in enumerate(logs):
        env = dict(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(ranks),
            MASTER_ADDR='127.0.0.1',
            MASTER_PORT=port,
        )
        path = str(ROOT / 'tools' / tool)
        process = FORKS.Process(target=_run, args=(path, args, cwd, env, log))
        process.start()
        processes.append(process)
    for process, log in zip(processes, logs):
        process.join()
        assert process.exitcode == 0, log.read_text()[-4000:]
    return logs[0].read_text()
