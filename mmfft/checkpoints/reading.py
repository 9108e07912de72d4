# Copyright (c) mmfft authors. All rights reserved.
"""Checkpoint files into memory, without running what is in them."""

import re
import zipfile
from pathlib import Path

import torch

from ..errors import ConfigError
from .allowed import (
    register_allowed_globals,
    restore,
    standing_in_for_defaultdicts,
)
from .published import convert_published, is_published
from .safetensors_files import read_safetensors


def read_file(path: str, map_location=None) -> dict:
    """Read a checkpoint file without executing anything in it.

    Args:
        path (str): Path of a local file, in the format of PyTorch or of
            safetensors.
        map_location (optional): Same as in ``torch.load``.

    Returns:
        dict: Contents of the file.

    Raises:
        ConfigError: If the file is missing, torn, not a checkpoint, or holds
            objects that could run code.
    """
    file = Path(path).expanduser()
    if not file.exists():
        raise ConfigError(f'checkpoint {path!r} does not exist')
    if not file.is_file():
        raise ConfigError(f'checkpoint {path!r} {kind_of_folder(file)}')
    head = _head(file)
    if _is_safetensors(head, file.stat().st_size):
        return read_safetensors(file, map_location)
    if kind := _kind(head, file):
        raise ConfigError(f'checkpoint {path!r} {kind}')
    try:
        # Once more: OneDL's mmengine takes some of them back after a load.
        register_allowed_globals()
        with standing_in_for_defaultdicts():
            checkpoint = torch.load(
                file, map_location=map_location, weights_only=True
            )
        checkpoint = restore(checkpoint)
    except Exception as error:
        raise ConfigError(_reason(file, error)) from error
    if not isinstance(checkpoint, dict):
        raise ConfigError(
            f'checkpoint {path!r} holds a {type(checkpoint).__name__}, not a '
            'dict of tensors'
        )
    return checkpoint


def unwrap(checkpoint: dict) -> dict:
    """The state dict in ``state_dict`` or ``model``, or the whole itself."""
    for wrapper in ('state_dict', 'model'):
        if isinstance(checkpoint.get(wrapper), dict):
            return checkpoint[wrapper]
    return checkpoint


def load_checkpoint_file(path: str, map_location=None) -> dict:
    """Read a checkpoint file; published ones come out in our names.

    Args:
        path (str): Path of a local file.
        map_location (optional): Same as in ``torch.load``.

    Returns:
        dict: Contents of the file. A published checkpoint of one of our
        models, wrapped in ``model``, ``state_dict`` or not at all, becomes
        ``dict(state_dict=...)`` in the names of an mmpretrain classifier,
        which our backbones take as well.

    Raises:
        ConfigError: Where :func:`read_file` or :func:`convert_published` does.
    """
    checkpoint = read_file(path, map_location)
    state_dict = unwrap(checkpoint)
    if is_published(state_dict):
        return dict(state_dict=convert_published(state_dict))
    return checkpoint


def _head(file: Path) -> bytes:
    with open(file, 'rb') as stream:
        return stream.read(512)


def kind_of_folder(folder: Path) -> str:
    """Say what a folder is that was given instead of a file."""
    names = {path.name for path in folder.iterdir()}
    if '.metadata' in names:
        return (
            'is a folder of a sharded checkpoint: join it into a file with '
            'python -m torch.distributed.checkpoint.format_utils '
            'dcp_to_torch FOLDER FILE'
        )
    files = sorted(
        name for name in names if name.endswith(('.pth', '.safetensors'))
    )
    return 'is a folder: give a file' + (
        f' in it, such as {files[0]!r}' if files else ''
    )


def _is_safetensors(head: bytes, size: int) -> bool:
    # The length of a header in JSON, and the header.
    length = int.from_bytes(head[:8], 'little')
    return head[8:9] == b'{' and 8 + length <= size


_PACKED = {
    b'\x1f\x8b': ('gzip', 'gunzip'),
    b'BZh': ('bzip2', 'bunzip2'),
    b'\xfd7zXZ\0': ('xz', 'unxz'),
    b'\x28\xb5\x2f\xfd': ('zstd', 'unzstd'),
    b'7z\xbc\xaf\x27\x1c': ('7z', '7z x'),
}


def _kind(head: bytes, file: Path) -> str | None:
    """Say what a file is and what to do, if not a PyTorch checkpoint."""
    if not head.strip():
        return 'is empty'
    if head.lstrip()[:1] == b'<':
        return (
            'is an HTML or XML page, not a checkpoint: the download gave a '
            'web page instead of the file'
        )
    if head.startswith(b'version https://git-lfs'):
        return (
            'is a pointer of Git LFS, which stands for the file: fetch the '
            'file itself with git lfs pull'
        )
    for magic, (name, command) in _PACKED.items():
        if head.startswith(magic):
            return f'is packed by {name}: unpack it first, with {command}'
    if head[257:262] == b'ustar':
        return (
            'is a tar archive: unpack it and give the checkpoint in it; if '
            'it is a checkpoint of PyTorch before 0.2, save it again with a '
            'PyTorch of that time'
        )
    if head.startswith(b'\x93NUMPY'):
        return 'is an array of NumPy (.npy), not a checkpoint'
    if head.startswith(b'\x89HDF\r\n\x1a\n'):
        return (
            'is an HDF5 file, as Keras writes: convert its weights to '
            'PyTorch first'
        )
    if re.match(rb'\x08[\x01-\x20][\x12\x22\x3a]', head):
        return (
            'is an ONNX graph, not a checkpoint: take the checkpoint that '
            'it was exported from'
        )
    if head.startswith(b'PK'):
        return _kind_of_zip(file)
    if head.startswith(b'\x80') and MAGIC not in head:
        return (
            'is a plain pickle, not written by torch.save, and was not '
            f'loaded, since that could run code; {_convert(file)}'
        )
    return None


# The number that torch.save wrote first before PyTorch 1.6.
MAGIC = bytes.fromhex('6cfc9c46f9206aa85019')


def _kind_of_zip(file: Path) -> str | None:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        return f'is torn: its end is missing ({error})'
    inner = {name.partition('/')[2] for name in names}
    if 'constants.pkl' in inner:
        return (
            'is a program of TorchScript, which runs code: take the '
            'checkpoint that it was made from, or if you trust it, save its '
            'weights: python -c "import torch; torch.save(torch.jit.load('
            f"'{file.name}').state_dict(), 'weights.pth')\""
        )
    if 'data.pkl' in inner:
        return None
    if names and all(name.endswith('.npy') for name in names):
        return 'is an archive of NumPy arrays (.npz), not a checkpoint'
    return (
        'is a zip archive: unpack it and give the checkpoint in it '
        f'(its first files: {names[:3]})'
    )


def _convert(file: Path) -> str:
    return (
        'to take only its weights, without running anything in it: '
        f'python -m mmfft.checkpoints.take_weights {file.name} weights.pth'
    )


def _reason(file: Path, error: Exception) -> str:
    """Say what is wrong with a file that ``torch.load`` refused."""
    text = str(error)
    name = f'checkpoint {str(file)!r}'
    pickled = _head(file).startswith((b'PK', b'\x80'))
    if pickled and (found := _REFUSED.search(text)):
        refused = next(filter(None, found.groups()))
        return (
            f'{name} holds more than weights and plain data ({refused}) and '
            f'was not loaded, since that could run code; {_convert(file)}'
        )
    if 'map_location' in text:
        return (
            f'{name} was saved on a device that is not here: load it with '
            "map_location='cpu'"
        )
    return (
        f'{name} cannot be read ({type(error).__name__}: '
        f'{_first_line(text)}): it is torn or not a PyTorch checkpoint'
    )


# What PyTorch's reader says of objects, in all its versions.
_REFUSED = re.compile(
    r'(?:GLOBAL|Unsupported class) (\S+)'
    r"|(?:Can only|Trying to call) .*?<(?:class|function) '?(.+?)'?>"
    r'|(getattr\(.*?\)|collections\.defaultdict\(.*?\)) '
    r'|(Unsupported operand \d+|Trying to call .*)'
)


def _first_line(text: str) -> str:
    # What PyTorch advises stands before the cause.
    text = text.rpartition('WeightsUnpickler error:')[2]
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line), text)[:200]
