# Copyright (c) mmfft authors. All rights reserved.
"""Downloads that are either complete or not there."""

import hashlib
import os
import re
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import urlopen

import torch
from torch import distributed
from torch.hub import tqdm

from ..errors import ConfigError
from .zoo import file_of, url_of


def download(url: str, name: str | None = None) -> str:
    """Fetch a file into PyTorch's checkpoint cache, where mmengine's are.

    One process per machine downloads while the others wait. An existing file
    is taken as it is.

    Args:
        url (str): Address of the file.
        name (str, optional): File name in the cache. Defaults to the last part
            of the address.

    Returns:
        str: Path of the file.

    Raises:
        ConfigError: If the download fails, or the address names no file.
    """
    name = name or os.path.basename(urlparse(url).path)
    if name in ('', '.', '..'):
        raise ConfigError(f'address {url!r} does not end with a file name')
    file = _cached(name)
    failure = 'the first process of this machine could not'
    # torchrun sets it, and mmengine for its other launchers.
    if os.environ.get('LOCAL_RANK', '0') == '0' and not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            _fetch(url, file)
        except (OSError, HTTPException) as error:
            failure = str(error)
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
    if not file.exists():
        raise ConfigError(
            f'cannot download {url} ({failure}); save the file as '
            f'{str(file)!r} to use it from there'
        )
    return str(file)


def published_file(name: str) -> str:
    """A published checkpoint, downloaded unless it is in the cache.

    Args:
        name (str): One of :func:`published_names`.

    Returns:
        str: Path of the file.

    Raises:
        ConfigError: If the name is unknown, the download fails, or the file
            is one that has to be fetched by hand and is not in the cache.
    """
    file, url = file_of(name), url_of(name)
    if url is not None:
        return download(url, file)
    if not in_cache(file):
        raise ConfigError(
            f'mmfft://{name} has no address to download from: fetch {file} '
            'by the links on https://github.com/raoyongming/GFNet and save '
            f'it as {str(_cached(file))!r}'
        )
    return str(_cached(file))


def in_cache(name: str) -> bool:
    """Whether a file of this name is in PyTorch's checkpoint cache."""
    return _cached(name).exists()


def _fetch(url: str, file: Path) -> None:
    """Download; the file appears under its name once it is complete.

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
