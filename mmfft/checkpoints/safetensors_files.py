# Copyright (c) mmfft authors. All rights reserved.
"""Checkpoints in the format of safetensors: tensors, and text about them.

The tensors have the names of the state dict, as every reader of the format
expects. What a ``.pth`` file holds under ``meta``, and the versions of the
modules, are one text in JSON among the strings of the header, under ``mmfft``.
"""

import json
import logging
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..errors import ConfigError

SUFFIX = '.safetensors'
_LOGGER = logging.getLogger('mmfft')
_KEY = 'mmfft'
# JSON has neither tuples nor keys that are no strings.
_TUPLE, _ITEMS = '$tuple', '$items'
_LEFT_OUT = object()


def to_safetensors(checkpoint: dict) -> bytes:
    """Content of a safetensors file.

    Tensors that share memory are written once for each name, so that every
    reader finds all of them. A warning names what cannot be kept of ``meta``.

    Args:
        checkpoint (dict): ``state_dict`` and perhaps ``meta``, or the tensors
            by name.

    Returns:
        bytes: Content of the file.

    Raises:
        ConfigError: If the checkpoint has other entries, or something among
            its weights is not a tensor that the format knows.
    """
    weights = checkpoint.get('state_dict')
    metadata = {'format': 'pt'}
    if isinstance(weights, dict):
        if others := sorted(set(checkpoint) - {'meta', 'state_dict'}):
            raise ConfigError(
                f'a {SUFFIX} file holds meta and state_dict only, not '
                f'{others}: leave them out, or write a .pth file'
            )
        metadata[_KEY] = _describe(checkpoint)
    else:
        weights = checkpoint
    unfit = {
        name: one.layout if isinstance(one, Tensor) else type(one).__name__
        for name, one in weights.items()
        if not isinstance(one, Tensor) or one.layout is not torch.strided
    }
    if unfit:
        raise ConfigError(
            f'a {SUFFIX} file holds dense tensors only, not '
            + ', '.join(f'{name} ({kind})' for name, kind in unfit.items())
            + ': write a .pth file'
        )
    try:
        content = save(
            {
                str(name): one.detach().clone(
                    memory_format=torch.contiguous_format
                )
                for name, one in weights.items()
            }
        )
    # Of a dtype that the format does not know, such as complex128.
    except KeyError as error:
        raise ConfigError(
            f'a {SUFFIX} file has no tensors of {error}: write a .pth file'
        ) from error

    return _with_metadata(content, metadata)


def read_safetensors(file: Path, map_location=None) -> dict:
    """Read a safetensors file.

    Args:
        file (Path): The file.
        map_location (optional): Same as in ``torch.load``; only the name of a
            device counts, since the file names none that could be mapped.

    Returns:
        dict: ``state_dict`` and perhaps ``meta``, if :func:`to_safetensors`
        wrote the file from these; the tensors by name otherwise.

    Raises:
        ConfigError: If the file is torn, or its text about the tensors is
            not what :func:`to_safetensors` writes.
    """
    named = isinstance(map_location, (str, torch.device))
    device = str(map_location) if named else 'cpu'
    try:
        with safe_open(file, framework='pt', device=device) as opened:
            metadata = opened.metadata() or {}
            weights = {name: opened.get_tensor(name) for name in opened.keys()}
    except SafetensorError as error:
        raise ConfigError(
            f'checkpoint {str(file)!r} is a torn safetensors file ({error})'
        ) from error
    if _KEY not in metadata:
        return weights
    try:
        return _restore(weights, json.loads(metadata[_KEY]))
    # Whatever another program wrote under our key.
    except (
        AttributeError,
        KeyError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise ConfigError(
            f'checkpoint {str(file)!r} has metadata under {_KEY!r} that '
            f'mmfft did not write ({type(error).__name__}: {error})'
        ) from error


def _with_metadata(content: bytes, metadata: dict[str, str]) -> bytes:
    """Put strings into the header of a file without any.

    safetensors writes them in an order that changes from call to call, and
    equal checkpoints are to have equal hashes.
    """
    end = 8 + int.from_bytes(content[:8], 'little')
    tensors = json.loads(content[8:end])
    header = json.dumps({'__metadata__': metadata, **tensors}).encode()
    header += b' ' * (-len(header) % 8)
    return len(header).to_bytes(8, 'little') + header + content[end:]


def _describe(checkpoint: dict) -> str:
    """The text under our key."""
    left_out: dict[str, str] = {}
    text = {}
    if 'meta' in checkpoint:
        text['meta'] = _to_json(checkpoint['meta'], 'meta', left_out)
        if text['meta'] is _LEFT_OUT:
            del text['meta']
    versions = getattr(checkpoint['state_dict'], '_metadata', {})
    text['versions'] = {
        name: kept['version']
        for name, kept in versions.items()
        if isinstance(kept.get('version'), int)
    }
    for name, kind in left_out.items():
        _LOGGER.warning(
            f'{name} ({kind}) is left out: a {SUFFIX} file keeps numbers, '
            'strings, lists, tuples and dicts of meta; a .pth file keeps it'
        )
    return json.dumps(text)


def _restore(weights: dict[str, Tensor], text: dict) -> dict:
    state_dict: Any = OrderedDict(weights)
    # Modules look there for the version that saved them.
    state_dict._metadata = OrderedDict(
        (name, dict(version=int(version)))
        for name, version in text['versions'].items()
    )
    checkpoint = dict(state_dict=state_dict)
    if 'meta' in text:
        checkpoint['meta'] = _from_json(text['meta'])
    return checkpoint


def _to_json(value: Any, where: str, left_out: dict[str, str]) -> Any:
    if isinstance(value, Mapping):
        items = [
            [
                _to_json(key, f'a key of {where}', left_out),
                _to_json(one, f'{where}[{key!r}]', left_out),
            ]
            for key, one in value.items()
        ]
        items = [item for item in items if _LEFT_OUT not in item]
        if all(type(k) is str and not k.startswith('$') for k, _ in items):
            return dict(items)
        return {_ITEMS: items}
    if isinstance(value, (list, tuple)):
        ones = [
            _to_json(one, f'{where}[{i}]', left_out)
            for i, one in enumerate(value)
        ]
        # Without it the others would stand at other places.
        if any(one is _LEFT_OUT for one in ones):
            return _LEFT_OUT
        return {_TUPLE: ones} if isinstance(value, tuple) else ones
    if value is None or isinstance(value, (str, int, float)):
        return value
    left_out[where] = f'{type(value).__module__}.{type(value).__qualname__}'
    return _LEFT_OUT


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return [_from_json(one) for one in value]
    if not isinstance(value, dict):
        return value
    if _TUPLE in value:
        return tuple(_from_json(one) for one in value[_TUPLE])
    if _ITEMS in value:
        return {_from_json(k): _from_json(one) for k, one in value[_ITEMS]}
    return {key: _from_json(one) for key, one in value.items()}
