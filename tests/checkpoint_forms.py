# Copyright (c) mmfft authors. All rights reserved.
"""Forms of checkpoint files, good and bad.

Each form is a function that writes a file to a path. A bad form also has a
pattern that the message of :func:`read_file` must match.
"""

import argparse
import collections
import datetime
import decimal
import enum
import fractions
import functools
import gzip
import io
import os
import pathlib
import pickle
import tarfile
import types
import uuid
import zipfile

import numpy as np
import torch
from torch import nn


def refused(name):
    return (
        rf'holds more than weights and plain data \({name}\) '
        r'.*could run code; .*take_weights \S+ weights\.pth'
    )


class Own:
    """A class that is on no allow-list."""

    def __init__(self):
        self.weight = torch.ones(2)


class Choice(enum.Enum):
    ONE = 1


class Calls:
    """Object that is unpickled by a call of a function."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call

    def __call__(self):
        """Do nothing; the pickler requires that the object is callable."""


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.register_buffer('passing', torch.ones(1), persistent=False)
        self.shared = self.conv


def make_list():
    return []


def weights():
    generator = torch.Generator().manual_seed(0)
    return {
        'conv.weight': torch.randn(2, 3, generator=generator),
        'fc.bias': torch.arange(3.0),
    }


def saved(value, **kwargs):
    return lambda path: torch.save(
        value() if isinstance(value, types.FunctionType) else value,
        path,
        **kwargs,
    )


def beside(value):
    """Save weights with a value in their meta information."""
    return saved(dict(state_dict=weights(), meta=dict(value=value)))


def renamed(value, **names):
    """Save a value as another Python, system or package would save it."""

    def write(path):
        beside(value)(path)
        with zipfile.ZipFile(path) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, 'w') as archive:
            for name, content in files.items():
                if name.endswith('data.pkl'):
                    for old, new in names['names']:
                        assert old in content
                        content = content.replace(old, new)
                archive.writestr(name, content)

    return write


def written(content):
    return lambda path: path.write_bytes(content)


def packed(write, pack):
    """Put a form into another file."""

    def write_packed(path):
        write(path)
        content = path.read_bytes()
        path.write_bytes(pack(content))

    return write_packed


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as archive:
        info = tarfile.TarInfo('weights.pth')
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def to_numpy(function, *args):
    buffer = io.BytesIO()
    function(buffer, *args)
    return written(buffer.getvalue())


def write_safetensors(path):
    from safetensors.torch import save_file

    save_file(weights(), path)


def write_torn_safetensors(path):
    write_safetensors(path)
    path.write_bytes(path.read_bytes()[:-4])


def write_script(path):
    torch.jit.script(nn.Linear(2, 2)).save(path)


def write_sharded(path):
    path.mkdir()
    (path / '.metadata').write_bytes(b'')


def write_folder(path):
    path.mkdir()
    (path / 'model.safetensors').write_bytes(b'')


def as_tensors(convert):
    def make():
        return dict(state_dict={k: convert(v) for k, v in weights().items()})

    return saved(make)


def quantized(tensor):
    return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


def with_note(tensor):
    tensor.note = 'kept along'
    return tensor


def shared():
    whole = torch.arange(6.0)
    return dict(state_dict={'a': whole[:3], 'b': whole[2:], 'c': whole[::2]})


def with_metadata():
    return dict(state_dict=nn.BatchNorm2d(2).state_dict())


def prefixed(prefix):
    return dict(state_dict={f'{prefix}{k}': v for k, v in weights().items()})


def trained():
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return dict(
        state_dict=model.state_dict(),
        optimizer=optimizer.state_dict(),
        param_schedulers=[dict(last_step=1, _last_lr=[0.1])],
        epoch=3,
    )


def history():
    """Save mmengine's training log as mmengine pickles it."""
    log = Own()
    log.__dict__ = dict(
        max_length=10,
        _log_history=np.array([0.5, 0.25]),
        _count_history=np.array([1, 1]),
        statistics_methods=dict(mean=Calls(getattr, Own, '__init__')),
    )
    module = Own.__module__.encode()
    return renamed(
        log,
        names=[
            (
                b'c%s\nOwn\n' % module,
                b'cmmengine.logging.history_buffer\nHistoryBuffer\n',
            ),
            (b'X\x08\x00\x00\x00__init__', b'X\x04\x00\x00\x00mean'),
        ],
    )


# In several places, and in another one.
_SHARED = collections.defaultdict(int, a=1)
_TWICE = [_SHARED, (_SHARED, 1), collections.defaultdict(list, b=_SHARED)]

GOOD = {
    # Wrappers.
    'bare': saved(weights),
    'state_dict': saved(lambda: dict(state_dict=weights())),
    'model': saved(lambda: dict(model=weights(), epoch=3)),
    'other wrapper': saved(lambda: dict(net=weights())),
    'twice wrapped': saved(lambda: dict(model=dict(state_dict=weights()))),
    'two wrappers': saved(
        lambda: dict(state_dict=weights(), ema_state_dict=weights())
    ),
    'module. prefix': saved(lambda: prefixed('module.')),
    'backbone. prefix': saved(lambda: prefixed('backbone.')),
    'ordered, with versions': saved(with_metadata),
    'empty': saved({}),
    'keys of numbers': saved(lambda: {0: torch.ones(1), None: 1, 2.5: 'a'}),
    'with optimizer': saved(trained),
    'parts named as ours': saved(
        lambda: {
            'blocks.0.filter.complex_weight': torch.ones(2),
            'blocks.0.attention.weight': torch.ones(2),
        }
    ),
    # Formats.
    'legacy': saved(weights, _use_new_zipfile_serialization=False),
    'legacy, shared': saved(shared, _use_new_zipfile_serialization=False),
    # Tensors.
    **{
        str(dtype): as_tensors(functools.partial(torch.Tensor.to, dtype=dtype))
        for dtype in (
            torch.float16,
            torch.bfloat16,
            torch.float64,
            torch.float8_e4m3fn,
            torch.int8,
            torch.uint8,
            torch.int64,
            torch.bool,
            torch.complex64,
            torch.complex128,
        )
    },
    'parameters': as_tensors(nn.Parameter),
    'sparse': as_tensors(torch.Tensor.to_sparse),
    'quantized': as_tensors(quantized),
    'no elements': as_tensors(lambda t: t[:0]),
    'transposed': as_tensors(torch.t),
    'conjugate': as_tensors(lambda t: t.to(torch.complex64).conj()),
    'with an attribute': as_tensors(with_note),
    'shared storage': saved(shared),
    'requires grad': as_tensors(torch.Tensor.requires_grad_),
    # NumPy.
    **{
        f'array of {dtype}': beside(np.ones((2, 3), dtype))
        for dtype in (
            *('?', 'i1', 'u1', 'i2', 'u2', 'i4', 'u4', 'i8', 'u8'),
            *('f2', 'f4', 'f8', 'g', 'c8', 'c16', '>f4'),
        )
    },
    'array of str': beside(np.array(['cat', 'd\xf6g'])),
    'array of bytes': beside(np.array([b'cat', b'\xff'])),
    'array of objects': beside(np.array([1, 'a', None, [2]], object)),
    'array of dates': beside(np.array(['2020-01-01'], 'M8[D]')),
    'array of durations': beside(np.array([3], 'm8[s]')),
    'structured array': beside(np.zeros(2, [('a', 'i4'), ('b', 'S3')])),
    'array of records': beside(np.rec.array([(1, 2.0)], names='a,b')),
    'array of void': beside(np.zeros(2, 'V4')),
    'Fortran order': beside(np.asfortranarray(np.arange(6.0).reshape(2, 3))),
    'array of no axes': beside(np.array(3.0)),
    **{
        f'scalar of {cls.__name__}': beside(cls(1))
        for cls in (np.float64, np.float16, np.int32, np.uint8, np.complex64)
    },
    'scalar of bool': beside(np.bool_(True)),
    'scalar of str': beside(np.str_('a')),
    'scalar of bytes': beside(np.bytes_(b'\xfe')),
    'scalar of date': beside(np.datetime64('2020-01-01')),
    'dtype': beside(np.dtype('f4')),
    'state of RandomState': beside(np.random.RandomState(0).get_state()),
    'state of Generator': beside(np.random.default_rng(0).bit_generator.state),
    'Python state of random': beside((3, (1, 2**31), None)),
    # Python.
    'set': beside({1, 'a'}),
    'frozenset': beside(frozenset({1})),
    'bytes': beside(b'\x00\xff'),
    'bytearray': beside(bytearray(b'\x00\xff')),
    'complex': beside(1 + 2j),
    'large numbers': beside([2**40, -(2**100), 1e300, float('inf')]),
    'strings': beside(['', 'a' * 300, '\u00fc\U0001f600']),
    'nested': beside([(1, [2, {'a': (None, True)}])]),
    'slice': beside(slice(1, None, 2)),
    'range': beside(range(3)),
    'type': beside(list),
    'Counter': beside(collections.Counter('aab')),
    'OrderedDict': beside(collections.OrderedDict(b=1, a=2)),
    'empty defaultdict': beside(collections.defaultdict(list)),
    'filled defaultdict': beside(collections.defaultdict(list, a=[1])),
    'defaultdict twice': beside(_TWICE),
    'empty deque': beside(collections.deque(maxlen=3)),
    'Path': beside(pathlib.PurePosixPath('a/b')),
    'date': beside(datetime.date(2020, 1, 2)),
    'datetime': beside(
        datetime.datetime(2020, 1, 2, 3, tzinfo=datetime.timezone.utc)
    ),
    'time': beside(datetime.time(3, 4)),
    'timedelta': beside(datetime.timedelta(days=1, seconds=2)),
    'Decimal': beside(decimal.Decimal('1.50')),
    'Fraction': beside(fractions.Fraction(1, 3)),
    'UUID': beside(uuid.UUID(int=3)),
    'Namespace': beside(argparse.Namespace(lr=0.1, drop=[0.1])),
    'SimpleNamespace': beside(types.SimpleNamespace(lr=0.1)),
    # PyTorch.
    'Size': beside(torch.Size([2, 3])),
    'torch.dtype': beside(torch.bfloat16),
    'device': beside(torch.device('cpu')),
    'state of torch.Generator': beside(torch.Generator().get_state()),
}

# Good forms with names that only other systems write.
FROM_ELSEWHERE = {
    'path of this system': beside(pathlib.Path('a/b')),
    'path of Windows': renamed(
        pathlib.PureWindowsPath('c:/a'),
        names=[(b'PureWindowsPath', b'WindowsPath')],
    ),
    'path of Python 3.13': renamed(
        pathlib.PurePosixPath('a/b'),
        names=[(b'cpathlib\nPure', b'cpathlib._local\nPure')],
    ),
    'safetensors': write_safetensors,
}

# A training log, which mmengine's own loader takes if it is installed.
OF_MMENGINE = {'history': history()}

BAD = {
    # A safe reader cannot distinguish these from code.
    'own class': (
        beside(Own()),
        refused(r'\S+\.Own'),
    ),
    'member of an enum': (
        beside(Choice.ONE),
        refused(r'\S+\.Choice'),
    ),
    'function': (
        beside(make_list),
        refused(r'\S+\.make_list'),
    ),
    'partial': (
        beside(functools.partial(int, '3')),
        refused(r'functools\.partial'),
    ),
    'call of os': (
        beside(Calls(os.getcwd)),
        refused(r'\w+\.getcwd'),
    ),
    'call of eval': (
        beside(Calls(eval, '1')),
        refused(r'(builtins\.)?eval'),
    ),
    'getattr': (
        beside(Calls(getattr, 'text', 'upper')),
        refused(r"getattr\('text', 'upper'\)"),
    ),
    'defaultdict of a function': (
        beside(collections.defaultdict(make_list)),
        refused(r'\S+\.make_list'),
    ),
    'filled deque': (
        beside(collections.deque([1, 2])),
        refused(r'collections\.deque'),
    ),
    'masked array': (
        beside(np.ma.array([1, 2], mask=[0, 1])),
        refused(r'numpy\.ma\S+'),
    ),
    'Generator of NumPy': (
        beside(np.random.default_rng(0)),
        refused(r'numpy\.random\S+'),
    ),
    'protocol 4': (
        saved(weights, pickle_protocol=4),
        refused(r'Unsupported operand \d+'),
    ),
    'whole module': (
        saved(lambda: Net()),
        refused(r'\S+\.Net'),
    ),
    'whole module, legacy': (
        saved(lambda: Net(), _use_new_zipfile_serialization=False),
        refused(r'\S+\.Net'),
    ),
    'whole module, wrapped': (
        saved(lambda: dict(model=Net())),
        refused(r'\S+\.Net'),
    ),
    'whole module of PyTorch': (
        saved(lambda: nn.Linear(2, 2)),
        refused(r'torch\.nn\S+\.Linear'),
    ),
    'own class, legacy': (
        saved(lambda: Own(), _use_new_zipfile_serialization=False),
        refused(r'\S+\.Own'),
    ),
    # Not dicts.
    'a tensor': (saved(torch.ones(2)), 'holds a Tensor, not a dict'),
    'a list': (saved([torch.ones(2)]), 'holds a list, not a dict'),
    'None': (saved(None), 'holds a NoneType, not a dict'),
    # Incomplete files.
    'no bytes': (written(b''), 'is empty'),
    'blanks': (written(b'\n\n'), 'is empty'),
    'torn': (packed(saved(weights), lambda c: c[:-100]), 'is torn'),
    'torn early': (packed(saved(weights), lambda c: c[:200]), 'is torn'),
    'torn, legacy': (
        packed(
            saved(weights, _use_new_zipfile_serialization=False),
            lambda c: c[:-10],
        ),
        'is torn',
    ),
    # Other files.
    'web page': (written(b'\n<!DOCTYPE html><html>'), 'HTML or XML page'),
    'XML': (written(b'<?xml version="1.0"?><Error/>'), 'HTML or XML page'),
    'Git LFS': (
        written(b'version https://git-lfs.github.com/spec/v1\noid sha256:0'),
        'pointer of Git LFS.*git lfs pull',
    ),
    'text': (written(b'hello'), 'not a PyTorch checkpoint'),
    'JSON': (written(b'{"message": "Not Found"}'), 'not a PyTorch checkpoint'),
    'zip': (written(zipped(weights=b'1')), 'zip archive: unpack'),
    'packed by gzip': (packed(saved(weights), gzip.compress), 'gunzip'),
    'packed by xz': (written(b'\xfd7zXZ\0' + bytes(9)), 'unxz'),
    'packed by bzip2': (written(b'BZh91AY' + bytes(9)), 'bunzip2'),
    'tar': (packed(saved(weights), tarred), 'tar archive: unpack'),
    'npy': (to_numpy(np.save, np.ones(2)), r'array of NumPy \(\.npy\)'),
    'npz': (to_numpy(np.savez, np.ones(2)), r'NumPy arrays \(\.npz\)'),
    'HDF5': (written(b'\x89HDF\r\n\x1a\n' + bytes(99)), 'HDF5 file'),
    'ONNX': (written(b'\x08\x08\x12\x07pytorch\x1a'), 'ONNX graph'),
    'TorchScript': (write_script, 'program of TorchScript'),
    'plain pickle': (
        written(pickle.dumps(dict(model={'w': np.ones(2)}))),
        'plain pickle, .*could run code; .*take_weights',
    ),
    'torn safetensors': (write_torn_safetensors, 'torn safetensors|torn'),
    'sharded': (write_sharded, 'sharded checkpoint: .*dcp_to_torch'),
    'folder': (write_folder, r"is a folder: .* 'model\.safetensors'"),
    'nothing': (lambda path: None, 'does not exist'),
}


def write_all(folder):
    """Write every form.

    Returns:
        dict[str, Path]: Paths by the names of the forms.
    """
    forms = {**GOOD, **FROM_ELSEWHERE, **OF_MMENGINE}
    forms.update((name, write) for name, (write, _) in BAD.items())
    paths = {}
    for i, (name, write) in enumerate(forms.items()):
        paths[name] = folder / f'{i}.pth'
        write(paths[name])
    return paths


def describe(value):
    """Describe a value completely: its types, and each bit of its content."""
    kind = type(value).__name__
    if isinstance(value, nn.Module):
        return kind, describe(dict(value.state_dict()))
    if isinstance(value, torch.Tensor):
        more = describe(vars(value)) if hasattr(value, '__dict__') else ''
        dense = value.dequantize() if value.is_quantized else value.to_dense()
        dense = dense.detach().resolve_conj().contiguous()
        return (
            *(kind, str(value.dtype), str(value.layout), value.requires_grad),
            *(tuple(value.shape), value.stride() if dense is value else ''),
            dense.view(-1).view(torch.uint8).tolist() if dense.numel() else '',
            more,
        )
    if isinstance(value, np.ndarray):
        content = value.tolist() if value.dtype.hasobject else value.tobytes()
        return kind, str(value.dtype), value.shape, value.flags.fnc, content
    if isinstance(value, dict):
        more = describe(vars(value)) if hasattr(value, '__dict__') else ''
        return (
            kind,
            [(describe(k), describe(v)) for k, v in value.items()],
            describe(getattr(value, 'default_factory', None)),
            more,
        )
    if isinstance(value, (list, tuple)):
        return kind, [describe(one) for one in value]
    if type(value).__module__ == __name__ or hasattr(value, '_log_history'):
        return kind, describe(vars(value))
    if isinstance(value, (types.FunctionType, types.BuiltinMethodType)):
        return kind, value.__qualname__
    if isinstance(value, (set, frozenset)):
        return kind, sorted(map(repr, value))
    if isinstance(value, np.random.Generator):
        return kind, repr(value.bit_generator.state)
    return kind, repr(value)


def outcome(load, path):
    """Load a file and describe the outcome.

    Returns:
        list[str]: Either ``'value'`` and the result of :func:`describe`, or
        ``'error'`` and the class and text of the error.
    """
    try:
        return ['value', repr(describe(load(str(path))))]
    except Exception as error:
        return ['error', type(error).__qualname__, str(error)]
