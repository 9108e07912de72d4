# Copyright (c) mmfft authors. All rights reserved.
"""Count the bytes that one block moves on a GPU, without having one.

    python -m benchmarks.traffic --models dfformer cdfformer

One block of each stage runs forward and backward on tensors without values,
and each operator that starts a kernel counts what it reads and writes: every
operand once, an expanded one as what is stored of it. Kernels of Triton count
their arguments in the same way. What :mod:`mmfft.ops` registers is looked
into.

A cell is MB, in parentheses how many times the least that has to be moved: by
a filter, a norm or an activation its input and its output, in the backward
pass the input and both gradients; by a linear layer the weights, too; by a
residual connection both branches and their sum. Activations are of the dtype
of autocast there. ``x`` is how many times a filter moves its input. The last
column counts kernels, which is what small batches feel.

Not counted is what an operator does within itself, except for transforms, and
what the caches of a GPU save or fail to save.
"""

import argparse
import json
import math
from bisect import bisect_right
from collections import defaultdict
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._library.custom_ops import OPDEFS
from torch.overrides import enable_reentrant_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.common import DTYPES, size_of
from benchmarks.pretended_gpu import autocast, pretended_gpu
from mmfft.layers import Residual, StarReLU
from mmfft.models import CDFFormer, DFFormer
from mmfft.ops import use_path

MODELS = dict(dfformer=DFFormer, cdfformer=CDFFormer)
GROUPS = (
    'linear',
    'filter',
    'convolution',
    'StarReLU',
    'norm',
    'routing',
    'residual',
    'sums of gradients',
)
_GROUP_OF = {
    nn.Linear: 'linear',
    nn.Conv2d: 'convolution',
    StarReLU: 'StarReLU',
    nn.LayerNorm: 'norm',
    Residual: 'residual',
}
_ALLOCATES = (
    'empty',
    'new_empty',
    'empty_like',
    'empty_strided',
    'new_empty_strided',
    '_unsafe_view',
    'resize_',
)
_OVERWRITES = ('copy_', 'fill_', 'zero_')
_TRANSFORMS = ('_fft_r2c', '_fft_c2r')


def num_bytes(tensor: Tensor) -> int:
    """Bytes that a tensor has in memory; those that repeat are one."""
    sizes = zip(tensor.shape, tensor.stride())
    count = tensor.element_size()
    for size, stride in sizes:
        count *= size if stride else min(size, 1)
    return count


@dataclass
class Count:
    """Bytes that are moved, the least that could be, and kernels."""

    bytes: int = 0
    floor: int = 0
    kernels: int = 0


class Traffic(TorchDispatchMode):
    """Counts of all operators on a GPU that run within, by group."""

    def __init__(self):
        super().__init__()
        self.counts = defaultdict(Count)
        self.group = 'other'
        # Groups by the number of the first node that autograd makes in them.
        self._numbers, self._groups = [0], ['other']

    def add(self, *tensors: Tensor, times: int = 1) -> None:
        """Count one kernel that moves some tensors, each that often."""
        count = self.counts[self.group]
        count.bytes += times * sum(map(num_bytes, tensors))
        count.kernels += 1

    def start(self, kernel, programs: int, *args, **kwargs) -> None:
        """Count a kernel of Triton.

        It is given twice what it changes in place.
        """
        self.add(*(arg for arg in args if isinstance(arg, Tensor)))

    @contextmanager
    def in_group(self, group: str):
        """Count what runs within as ``group``, its backward pass too."""
        before = self.group
        self._enter(group)
        try:
            yield
        finally:
            self._enter(before)

    def _enter(self, group: str) -> None:
        self.group = group
        self._numbers.append(torch.autograd._get_sequence_nr())
        self._groups.append(group)

    def group_of(self, node) -> str:
        """Group in which autograd made a node."""
        at = bisect_right(self._numbers, node._sequence_nr())
        return self._groups[at - 1]

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name.partition('::')[2]
        if func.namespace == 'mmfft':
            # As if called from outside, below autograd.
            with (
                enable_reentrant_dispatch(),
                self,
                torch.no_grad(),
                self.in_group('filter'),
            ):
                out = OPDEFS[func._schema.name]._init_fn(*args, **kwargs)
            self.counts['filter'].floor += sum(
                num_bytes(leaf)
                for leaf in tree_leaves((args, kwargs, out))
                if isinstance(leaf, Tensor)
            )
            return out
        out = func(*args, **kwargs)
        if func.namespace == 'prim' or func.is_view or name in _ALLOCATES:
            return out
        if name in _TRANSFORMS:
            with enable_reentrant_dispatch(), self, torch.no_grad():
                self._transform(name == '_fft_c2r', out, *args)
        else:
            self._count(func, name, args, kwargs, out)
        return out

    def _count(self, func, name: str, args, kwargs, out) -> None:
        read, written = {}, {}
        for i, argument in enumerate(func._schema.arguments):
            value = args[i] if i < len(args) else kwargs.get(argument.name)
            tensors = [t for t in tree_leaves(value) if isinstance(t, Tensor)]
            changed = argument.alias_info and argument.alias_info.is_write
            for tensor in tensors:
                if changed:
                    written[id(tensor)] = tensor
                if not argument.is_out and not (
                    changed and name in _OVERWRITES
                ):
                    read[id(tensor)] = tensor
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                written[id(tensor)] = tensor
        tensors = [*read.values(), *written.values()]
        devices = {
            tensor.device.type
            for tensor in tensors
            # The kernel takes the value of a scalar.
            if tensor.dim() or name in ('copy_', '_to_copy')
        }
        if devices == {'cpu', 'cuda'}:
            raise RuntimeError(f'{func} copies between the CPU and the GPU')
        # A question about dtypes, for one, is an operator without tensors.
        on_gpu = [t for t in tensors if t.device.type == 'cuda']
        if on_gpu:
            self.add(*on_gpu)

    def _transform(
        self,
        to_real: bool,
        out: Tensor,
        x: Tensor,
        dims: list[int],
        normalization: int,
        *rest,
    ) -> None:
        """Count what aten/src/ATen/native/cuda/SpectralOps.cpp does."""
        if dims[:2] == [0, 1] or len(dims) > 3:
            raise NotImplementedError('a transform axis by axis')
        if to_real:
            # _fft_c2r_cufft: it may overwrite its input.
            x = x.clone(memory_format=torch.contiguous_format)
        # _exec_fft: other axes come first, in the order of their strides, and
        # become one, by a copy where that takes one.
        batch = [i for i in range(x.dim()) if i not in dims]
        batch.sort(key=x.stride, reverse=True)
        sizes = [x.shape[i] for i in dims]
        x = x.permute(*batch, *dims).reshape(-1, *sizes)
        # cuFFT: a kernel for each axis, the last one between real and complex.
        spectrum = x if to_real else out
        self.add(x, out)
        for _ in dims[1:]:
            self.add(spectrum, times=2)
        # _fft_apply_normalization
        if normalization:
            out.mul_(1)


def _group(name: str, module: nn.Module) -> str | None:
    """Group of a module, None for the one that it is in."""
    if hasattr(module, 'reweight'):
        return 'routing'
    if 'reweight' in name.split('.'):
        return None
    for kind, group in _GROUP_OF.items():
        if isinstance(module, kind):
            return group
    return None


@contextmanager
def observed(
    block: nn.Module, traffic: Traffic, element_size: int, train: bool
):
    """Have the modules of a block tell their groups, and what is the least.

    Args:
        block (nn.Module): The block.
        traffic (Traffic): Counts.
        element_size (int): Bytes of an element of an activation.
        train (bool): Whether there is a backward pass.
    """

    def floor(module: nn.Module, x: Tensor, y: Tensor) -> int:
        x, y = (element_size * t.numel() for t in (x, y))
        if isinstance(module, Residual):
            scaled = module.scale is not None
            return 3 * x * (1 + (train and scaled))
        if hasattr(module, 'reweight'):
            return x
        bytes = x + y + train * (2 * x + y)
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            bytes += (1 + 2 * train) * num_bytes(module.weight)
        return bytes

    def watch(module: nn.Module, group: str) -> list:
        contexts = []

        def enter(module, args):
            contexts.append(traffic.in_group(group))
            contexts[-1].__enter__()

        def leave(module, args, y):
            contexts.pop().__exit__(None, None, None)
            traffic.counts[group].floor += floor(module, args[0], y)

        return [
            module.register_forward_pre_hook(enter),
            module.register_forward_hook(leave),
        ]

    handles = []
    for name, module in block.named_modules():
        group = _group(name, module)
        if group is not None:
            handles += watch(module, group)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def backward(traffic: Traffic, y: Tensor, grad: Tensor) -> dict:
    """Count a backward pass.

    It does what autograd's engine does, which asks for a GPU for tensors of
    one.

    Args:
        traffic (Traffic): Counts of the forward pass, which are added to.
        y (Tensor): Its result.
        grad (Tensor): Gradient of the result.

    Returns:
        dict[Tensor, Tensor]: Gradient of each leaf.
    """
    leaves = {}
    uses: dict = defaultdict(int)
    nodes = [y.grad_fn]
    for node in nodes:
        for after, _ in node.next_functions:
            if after is not None:
                if after not in uses:
                    nodes.append(after)
                uses[after] += 1
    grads: dict = defaultdict(dict)
    grads[y.grad_fn][y.output_nr] = grad
    ready = [y.grad_fn]
    while ready:
        node = ready.pop()
        given = grads.pop(node, {})
        if hasattr(node, 'variable'):
            leaves[node.variable] = given[0]
            continue
        group = traffic.group_of(node)
        with traffic.in_group(group):
            run = node if callable(node) else node.apply
            results = run(*map(given.get, range(len(node._input_metadata))))
        if not isinstance(results, tuple):
            results = (results,)
        for (after, i), value in zip(node.next_functions, results):
            if after is None:
                continue
            uses[after] -= 1
            if not uses[after]:
                ready.append(after)
            if value is None:
                continue
            like = after._input_metadata[i]
            with traffic.in_group(group):
                # Autograd sums over axes that were expanded, and casts.
                if value.shape != like.shape:
                    value = value.sum_to_size(like.shape)
                value = value.to(like.dtype)
            if i in grads[after]:
                with traffic.in_group('sums of gradients'):
                    value = grads[after][i] + value
            grads[after][i] = value
    return leaves


def count(
    block: nn.Module,
    shape: tuple[int, int, int, int],
    dtype: torch.dtype,
    train: bool,
) -> dict[str, Count]:
    """Count what one block moves.

    Args:
        block (nn.Module): Block on the pretended GPU.
        shape (tuple[int, int, int, int]): Shape ``(B, H, W, C)`` of its input,
            which is float32, as it is under autocast after a norm.
        dtype (torch.dtype): Dtype of autocast, or float32 for none.
        train (bool): Whether to count the backward pass, too.

    Returns:
        dict[str, Count]: Counts by group.
    """
    traffic = Traffic()
    with (
        pretended_gpu(traffic.start),
        observed(block, traffic, dtype.itemsize, train),
    ):
        x = torch.empty(shape, device='cuda', requires_grad=train)
        with traffic, torch.set_grad_enabled(train), autocast(dtype):
            y = block(x)
        if train:
            grad = torch.empty_like(y)
            with traffic, torch.no_grad():
                backward(traffic, y, grad)
    return traffic.counts


def blocks(model: str, size: tuple[int, int]) -> list:
    """The first block of each stage, and the shape of its map."""
    with pretended_gpu(None), torch.device('cuda'):
        model = MODELS[model]('s18', img_size=size)
    grid, found = size, []
    for entry, stage, dim in zip(
        model.downsample_layers, model.stages, model.dims
    ):
        grid = entry.out_grid(grid)
        found.append((stage[0], (*grid, dim)))
    return found


def rows(args: argparse.Namespace) -> list[dict]:
    """Count all cases."""
    return [
        dict(
            model=model,
            image='x'.join(map(str, size)),
            batch=batch,
            dtype=dtype,
            mode=mode,
            grid=f'{shape[0]}x{shape[1]}',
            # The map of a filter has twice the channels of the block's.
            x=2 * batch * math.prod(shape) * DTYPES[dtype].itemsize,
            counts={
                group: asdict(found)
                for group, found in count(
                    block, (batch, *shape), DTYPES[dtype], mode == 'train'
                ).items()
            },
        )
        for model in args.models
        for size, batch in zip(args.sizes, args.batch, strict=True)
        for dtype in args.dtypes
        for mode in ('infer', 'train')
        for block, shape in blocks(model, size)
    ]


def table(rows: list[dict]) -> str:
    """The counts as a table in Markdown."""
    groups = [g for g in GROUPS if any(g in row['counts'] for row in rows)]
    groups += sorted({g for row in rows for g in row['counts']} - {*groups})
    keys = ('model', 'image', 'batch', 'dtype', 'mode', 'grid')
    heads = (*keys, *groups, 'total', 'x', 'kernels')
    lines = [heads, ['---'] * len(keys) + ['---:'] * (len(heads) - len(keys))]
    for row in rows:
        counts = row['counts']
        zero = dict(bytes=0, floor=0, kernels=0)
        total = {
            key: sum(count[key] for count in counts.values()) for key in zero
        }
        times = counts.get('filter', zero)['bytes'] / row['x']
        lines.append(
            [
                *(str(row[key]) for key in keys),
                *(_cell(counts.get(group, zero)) for group in groups),
                _cell(total),
                f'{times:.1f}' if times else '',
                str(total['kernels']),
            ]
        )
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _cell(count: dict) -> str:
    if not count['bytes']:
        return ''
    cell = f'{count["bytes"] / 1e6:,.1f}'
    if count['floor']:
        cell += f' ({count["bytes"] / count["floor"]:.1f})'
    return cell


def main(argv=None):
    p = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    p.add_argument('--models', nargs='+', choices=MODELS, default=[*MODELS])
    p.add_argument(
        '--sizes', nargs='+', type=size_of, default=[(224, 224), (800, 1344)]
    )
    p.add_argument(
        '--batch',
        type=int,
        nargs='+',
        default=[128, 2],
        help='number of images, for each of the sizes',
    )
    p.add_argument(
        '--dtypes',
        nargs='+',
        choices=DTYPES,
        default=['float32', 'bfloat16'],
        help='float32, or the dtype of autocast',
    )
    p.add_argument('--path', help='path to force, see mmfft.ops.use_path')
    p.add_argument('--out', type=Path, help='JSON file to write')
    args = p.parse_args(argv)
    with use_path(args.path) if args.path else nullcontext():
        found = rows(args)
    print(table(found))
    if args.out:
        args.out.write_text(json.dumps(found, indent=1))


if __name__ == '__main__':
    main()
