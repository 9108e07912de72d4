# Copyright (c) mmfft authors. All rights reserved.
"""Files that run code when they are unpickled.

Each payload creates a file when it runs, so that a loader that runs it is
detected, whether or not it raises an error afterwards.
"""

import functools
import os
import pickle
import zipfile

import numpy as np
import torch
from checkpoint_forms import Calls, weights
from torch import nn


def by_eval(trace):
    return Calls(eval, f'open({trace!r}, "w").close()')


def by_exec(trace):
    return Calls(exec, f'open({trace!r}, "w").close()')


def by_system(trace):
    return Calls(os.system, f'touch {trace}')


def by_open(trace):
    return Calls(open, trace, 'w')


def by_partial(trace):
    return Calls(functools.partial(os.mkdir, trace))


def by_numpy(trace):
    return Calls(np.save, trace, np.ones(1))


def by_getattr(trace):
    """Misuse a name that is on the allow-list."""
    module = Calls(__import__, 'os')
    return Calls(Calls(getattr, module, 'mkdir'), trace)


def by_inner_load(trace):
    """Make a storage that contains another pickle."""
    inner = pickle.dumps(by_eval(trace))
    return Calls(torch.storage._load_from_bytes, inner)


def by_module(trace):
    """Make a module, which PyTorch can only load by calling its class."""
    module = nn.Linear(1, 1)
    module.trace = by_eval(trace)
    return module


PAYLOADS = (
    by_eval,
    by_exec,
    by_system,
    by_open,
    by_partial,
    by_numpy,
    by_getattr,
    by_inner_load,
    by_module,
)


def write_zip(path, payload):
    torch.save(dict(state_dict=weights(), meta={}, extra=payload), path)


def write_legacy(path, payload):
    torch.save(
        dict(state_dict=weights(), extra=payload),
        path,
        _use_new_zipfile_serialization=False,
    )


def write_plain(path, payload):
    with open(path, 'wb') as file:
        pickle.dump(dict(state_dict={}, extra=payload), file)


def write_in_tensor(path, payload):
    """Write the payload as an attribute of a tensor."""
    state = weights()
    name, tensor = next(iter(state.items()))
    tensor = tensor.clone()
    tensor.note = payload
    torch.save(dict(state_dict={**state, name: tensor}), path)


WRITERS = (write_zip, write_legacy, write_plain, write_in_tensor)


def write_setstate(path, trace):
    """Reach ``eval`` by ``getattr``, and call it as a method of an instance.

    OneDL's mmengine allows ``getattr`` together with its ``HistoryBuffer``.
    """

    def text(content):
        data = content.encode()
        return b'X' + len(data).to_bytes(4, 'little') + data

    getter = b'c__builtin__\ngetattr\n'
    builtins = getter + getter + text('__self__') + b'\x86R'
    pickled = (
        b'\x80\x02cmmengine.logging.history_buffer\nHistoryBuffer\n)\x81}'
        + text('__setstate__')
        + (getter + builtins + text('eval') + b'\x86R')
        + b'sb'
        + text(f'open({str(trace)!r}, "w").close()')
        + b'b.'
    )
    torch.save({}, path)
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in files.items():
            is_pickle = name.endswith('data.pkl')
            archive.writestr(name, pickled if is_pickle else content)
