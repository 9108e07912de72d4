# Copyright (c) mmfft authors. All rights reserved.
"""Checkpoint files into memory, without running what is in them.

Importing this module makes mmengine's ``CheckpointLoader`` read local files
and downloads through :func:`load_checkpoint_file`, and adds the scheme
``mmfft://``. So ``init_cfg``, ``load_from`` and ``--resume`` of every model
take published files as they are and never execute a pickle.
"""

import argparse
import os
import pickle
import re
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import torch
from mmengine.dist import barrier
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader

from ..errors import ConfigError
from .published import convert_published, is_published
from .zoo import file_of, url_of


def _history_buffer_method(owner: type, name: str):
    """What ``getattr`` is called for in mmengine's checkpoints, no more."""
    if owner is not HistoryBuffer:
        raise pickle.UnpicklingError(
            f'getattr({owner!r}, {name!r}) is not of a HistoryBuffer'
        )
    return getattr(owner, name)


def allowed_globals() -> list:
    """Everything beside tensors that a checkpoint may hold.

    mmengine's training logs (``HistoryBuffer`` around numpy arrays), and the
    ``argparse.Namespace`` in which the published training scripts keep their
    arguments.

    Returns:
        list: For ``torch.serialization.safe_globals``.
    """
    multiarray = np._core.multiarray
    numpy_globals = [
        (function, f'numpy.{core}.multiarray.{function.__name__}')
        for function in (multiarray._reconstruct, multiarray.scalar)
        for core in ('core', '_core')
    ]
    dtypes = (np.float32, np.float64, np.int32, np.int64, np.uint32, np.bool_)
    return [
        HistoryBuffer,
        (_history_buffer_method, 'builtins.getattr'),
        argparse.Namespace,
        np.ndarray,
        np.dtype,
        *numpy_globals,
        *(type(np.dtype(dtype)) for dtype in dtypes),
    ]


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
        with torch.serialization.safe_globals(allowed_globals()):
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
    if 'Unsupported global' in text or 'Unsupported class' in text:
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
        # OpenMMLab's names end with the first digits of the file's hash.
        digest = re.search(r'-([a-f0-9]{8,})\.', file.name)
        try:
            torch.hub.download_url_to_file(
                url, str(file), digest and digest[1]
            )
        except (OSError, RuntimeError) as error:
            failure = str(error)
    barrier()
    if not file.exists():
        raise ConfigError(
            f'cannot download {url} ({failure}); save the file as '
            f'{str(file)!r} to use it from there'
        )
    return str(file)


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
