# Copyright (c) mmfft authors. All rights reserved.
"""Checkpoint files into memory, without running what is in them.

Importing this module makes mmengine's ``CheckpointLoader`` read local files
and downloads through :func:`load_checkpoint_file`, adds the scheme
``mmfft://``, and lets mmengine's other schemes load weights alone. So
``init_cfg``, ``load_from`` and ``--resume`` of every model take published
files as they are and never execute a pickle. What is allowed
beside tensors is registered with PyTorch too, for those places where mmengine
and the toolboxes call ``torch.load`` themselves: the original mmengine could
not read its own checkpoints with PyTorch 2.6 and later.
"""

import argparse
import codecs
import contextlib
import functools
import hashlib
import os
import pickle
import re
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import urlopen

import numpy as np
import torch
from mmengine.dist import barrier
from mmengine.logging import HistoryBuffer
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch.hub import tqdm

from ..errors import ConfigError
from .pickles import numpy_functions
from .published import convert_published, is_published
from .zoo import file_of, url_of


def _history_buffer_method(owner: type, name: str):
    """What ``getattr`` is called for in mmengine's checkpoints, no more."""
    if owner is not HistoryBuffer or name.startswith('_'):
        raise pickle.UnpicklingError(
            f'getattr({owner!r}, {name!r}) is not of a HistoryBuffer'
        )
    return getattr(owner, name)


def _named(function: Callable, path: str) -> Callable:
    """A function that pickles know by another name.

    PyTorch before 2.6 takes no names beside what is allowed.
    """

    def call(*args):
        return function(*args)

    call.__module__, _, call.__qualname__ = path.rpartition('.')
    call.__name__ = call.__qualname__
    return call


@functools.cache
def allowed_globals() -> tuple:
    """Everything beside tensors that a checkpoint may hold.

    mmengine's training logs (``HistoryBuffer`` around numpy arrays), and the
    ``argparse.Namespace`` in which the published training scripts keep their
    arguments.

    Returns:
        tuple: For ``torch.serialization.add_safe_globals``.
    """
    numpy_globals = [
        _named(function, '.'.join(path))
        for path, function in numpy_functions().items()
    ]
    dtypes = (np.float32, np.float64, np.int32, np.int64, np.uint32, np.bool_)
    return (
        HistoryBuffer,
        _named(_history_buffer_method, 'builtins.getattr'),
        argparse.Namespace,
        codecs.encode,  # bytes; newer PyTorch takes them anyway
        np.ndarray,
        np.dtype,
        *numpy_globals,
        *(type(np.dtype(dtype)) for dtype in dtypes),
    )


def register_allowed_globals() -> None:
    """Let every ``torch.load(weights_only=True)`` take what we take."""
    known = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(
        [one for one in allowed_globals() if one not in known]
    )


register_allowed_globals()


def read_file(path: str, map_location=None) -> dict:
    """Read a checkpoint file without executing anything in it.

    Args:
        path (str): A local file.
        map_location (optional): As of ``torch.load``.

    Returns:
        dict: What the file holds.

    Raises:
        ConfigError: If the file is missing, torn, no checkpoint, or holds
            objects that could run code.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise ConfigError(f'checkpoint {path!r} does not exist')
    try:
        # Once more: OneDL's mmengine takes some of them back after a load.
        register_allowed_globals()
        checkpoint = torch.load(
            file, map_location=map_location, weights_only=True
        )
    except Exception as error:
        raise ConfigError(_reason(file, error)) from error
    if not isinstance(checkpoint, dict):
        raise ConfigError(
            f'checkpoint {path!r} holds a {type(checkpoint).__name__}, not a '
            'dict of tensors'
        )
    return checkpoint


def unwrap(checkpoint: dict) -> dict:
    """The state dict in ``state_dict``, ``model`` or the whole itself."""
    for wrapper in ('state_dict', 'model'):
        if isinstance(checkpoint.get(wrapper), dict):
            return checkpoint[wrapper]
    return checkpoint


def load_checkpoint_file(path: str, map_location=None) -> dict:
    """Read a checkpoint file; published ones come out in our names.

    Args:
        path (str): A local file.
        map_location (optional): As of ``torch.load``.

    Returns:
        dict: What the file holds. A published checkpoint of one of our
        models, wrapped in ``model``, ``state_dict`` or not at all, becomes
        ``dict(state_dict=...)`` in the names of an mmpretrain classifier,
        which our backbones take as well.

    Raises:
        ConfigError: As :func:`read_file` and :func:`convert_published`.
    """
    checkpoint = read_file(path, map_location)
    state_dict = unwrap(checkpoint)
    if is_published(state_dict):
        return dict(state_dict=convert_published(state_dict))
    return checkpoint


def _reason(file: Path, error: Exception) -> str:
    """Say what is wrong with a file that ``torch.load`` refused."""
    with open(file, 'rb') as stream:
        head = stream.read(512).lstrip()
    if not head:
        return f'checkpoint {str(file)!r} is empty'
    if head[:1] == b'<':
        return (
            f'checkpoint {str(file)!r} is an HTML or XML page, not a '
            'checkpoint: the download gave a web page instead of the file'
        )
    text = str(error)
    if re.search('unsupported (global|class)', text, re.IGNORECASE):
        return (
            f'checkpoint {str(file)!r} holds objects that are not weights '
            'and was not loaded, since loading them could run code '
            f'({_first_line(text, "GLOBAL")}). If you trust its source, '
            'save the weights alone: python -c "import torch; c = '
            f"torch.load('{file.name}', weights_only=False); torch.save("
            "c.get('state_dict', c.get('model', c)), 'weights.pth')\""
        )
    return (
        f'checkpoint {str(file)!r} cannot be read ({type(error).__name__}: '
        f'{_first_line(text)}): it is torn or not a PyTorch checkpoint'
    )


def _first_line(text: str, mark: str = '') -> str:
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and mark in line), text)[:200]


def download(url: str, name: str | None = None) -> str:
    """Fetch a file into PyTorch's checkpoint cache, where mmengine's are.

    One process a machine downloads, the others wait; an existing file is
    taken as it is.

    Args:
        url (str): Address.
        name (str, optional): File name in the cache. Defaults to that of the
            address.

    Returns:
        str: Path of the file.

    Raises:
        ConfigError: If the download fails.
    """
    file = _cached(name or os.path.basename(urlparse(url).path))
    failure = 'the first process of this machine could not'
    # torchrun sets it, and mmengine for its other launchers.
    if os.environ.get('LOCAL_RANK', '0') == '0' and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            _fetch(url, file)
        except (OSError, HTTPException) as error:
            failure = str(error)
    barrier()
    if not file.exists():
        raise ConfigError(
            f'cannot download {url} ({failure}); save the file as '
            f'{str(file)!r} to use it from there'
        )
    return str(file)


def _fetch(url: str, file: Path) -> None:
    """Download; the file appears under its name when it is whole.

    ``torch.hub.download_url_to_file`` takes the end of a connection for the
    end of the file.
    """
    part = file.with_name(f'.{file.name}.{os.getpid()}.part')
    # OpenMMLab's and PyTorch's names end with the first digits of the hash.
    expected = re.search(r'-([a-f0-9]{8,})\.', file.name)
    digest = hashlib.sha256()
    try:
        with urlopen(url) as source, open(part, 'wb') as target:
            length = int(source.headers.get('Content-Length') or 0)
            with tqdm(
                desc=file.name, total=length, unit='B', unit_scale=True
            ) as bar:
                while chunk := source.read(2**20):
                    target.write(chunk)
                    digest.update(chunk)
                    bar.update(len(chunk))
        size = part.stat().st_size
        if length and size != length:
            raise OSError(f'broke off after {size} of {length} bytes')
        if expected and not digest.hexdigest().startswith(expected[1]):
            raise OSError(
                f'its hash is {digest.hexdigest()}, where its name has '
                f'{expected[1]}'
            )
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def _cached(name: str) -> Path:
    return Path(torch.hub.get_dir()) / 'checkpoints' / name


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location=None) -> dict:
    """Scheme of local paths, see :func:`load_checkpoint_file`."""
    return load_checkpoint_file(filename, map_location)


@CheckpointLoader.register_scheme(prefixes=('http://', 'https://'), force=True)
def load_from_http(filename: str, map_location=None) -> dict:
    """Scheme of addresses, see :func:`download`."""
    return load_checkpoint_file(download(filename), map_location)


@CheckpointLoader.register_scheme(prefixes='mmfft://')
def load_from_mmfft(filename: str, map_location=None) -> dict:
    """``mmfft://dfformer-s18_in1k``, see :mod:`mmfft.checkpoints.zoo`.

    Raises:
        ConfigError: If the name is unknown, or the file is one that has to
            be fetched by hand and is not in the cache.
    """
    name = filename.removeprefix('mmfft://')
    file, url = file_of(name), url_of(name)
    if url is not None:
        return load_checkpoint_file(download(url, file), map_location)
    if not _cached(file).exists():
        raise ConfigError(
            f'{filename} has no address to download from: fetch {file} by '
            'the links on https://github.com/raoyongming/GFNet and save it '
            f'as {str(_cached(file))!r}'
        )
    return load_checkpoint_file(str(_cached(file)), map_location)


@contextlib.contextmanager
def _weights_only() -> Iterator[None]:
    """Make every ``torch.load`` refuse to execute pickles.

    Whatever its caller says, and a user's environment. PyTorch's own switch.
    """
    force, refrain = (
        f'TORCH_FORCE_{word}WEIGHTS_ONLY_LOAD' for word in ('', 'NO_')
    )
    before = {name: os.environ.pop(name, None) for name in (force, refrain)}
    os.environ[force] = '1'
    try:
        yield
    finally:
        os.environ.pop(force)
        os.environ.update({k: v for k, v in before.items() if v is not None})


def _safely(load: Callable) -> Callable:
    """One of mmengine's schemes, with ``weights_only=True``."""

    @functools.wraps(load)
    def load_safely(filename: str, map_location=None) -> dict:
        with _weights_only():
            return load(filename, map_location=map_location)

    return load_safely


# mmengine's other schemes; those of names look up an address and download it
# by the function that is replaced here.
mmengine_checkpoint.load_from_http = load_from_http
for _prefixes, _load in {
    ('modelzoo://', 'torchvision://'): 'load_from_torchvision',
    ('open-mmlab://', 'openmmlab://'): 'load_from_openmmlab',
    'mmcls://': 'load_from_mmcls',
    'pavi://': 'load_from_pavi',
    (r'(\S+\:)?s3://', r'(\S+\:)?petrel://'): 'load_from_ceph',
}.items():
    CheckpointLoader.register_scheme(
        _prefixes,
        _safely(getattr(mmengine_checkpoint, _load)),
        force=True,
    )
