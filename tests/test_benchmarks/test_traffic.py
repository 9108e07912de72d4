# Copyright (c) mmfft authors. All rights reserved.
"""The bytes that are counted are those that one counts by hand."""

import json

import pytest
import torch
import torch.nn.functional as F

from benchmarks import traffic
from benchmarks.pretended_gpu import pretended_gpu
from mmfft.models import DFFormer
from mmfft.ops import use_path


def counted(function, *shapes):
    """Bytes and kernels of a function of float32 tensors on a GPU."""
    counts = traffic.Traffic()
    with pretended_gpu(counts.start):
        tensors = [torch.empty(shape, device='cuda') for shape in shapes]
        with counts:
            function(*tensors)
    assert set(counts.counts) <= {'other'}
    return counts.counts['other'].bytes, counts.counts['other'].kernels


def star_relu(x, scale, bias):
    y = F.relu(x)
    return y.mul_(y).mul_(scale).add_(bias)


@pytest.mark.parametrize(
    'function, shapes, expected',
    [
        # A pass reads and writes once, whatever it reads twice.
        (star_relu, [(5, 3), (1,), (1,)], (4 * 2 * 60 + 2 * 4, 4)),
        (lambda x: x.view(-1).t()[2:].unsqueeze(0), [(5, 3)], (0, 0)),
        (lambda x: torch.empty_like(x).view(-1), [(5, 3)], (0, 0)),
        (lambda x, y: x.copy_(y), [(5, 3), (5, 3)], (2 * 60, 1)),
        (lambda x: x.zero_(), [(5, 3)], (60, 1)),
        (lambda x: x.clone(), [(5, 3)], (2 * 60, 1)),
        (
            lambda x: torch.promote_types(x.dtype, torch.float16),
            [(5, 3)],
            (0, 0),
        ),
        # What is expanded is stored once.
        (
            lambda x, y: x + y.expand(5, 3),
            [(5, 3), (1, 3)],
            (2 * 60 + 12, 1),
        ),
        (lambda x, y: x @ y, [(5, 3), (3, 7)], (4 * (15 + 21 + 35), 1)),
        (
            lambda x, y, z: torch.bmm(x, y, out=z),
            [(2, 5, 3), (2, 3, 7), (2, 5, 7)],
            (2 * 4 * (15 + 21 + 35), 1),
        ),
        (
            lambda x, y, z: z.addmm_(x, y),
            [(5, 3), (3, 7), (5, 7)],
            (4 * (15 + 21 + 2 * 35), 1),
        ),
        (lambda x, y: torch.cat((x, y)), [(5, 3), (2, 3)], (2 * 4 * 21, 1)),
        # A product of conjugates makes them first.
        (
            lambda x: torch.view_as_complex(x).conj() * 2,
            [(5, 2)],
            (2 * 2 * 40, 2),
        ),
    ],
)
def test_operators(function, shapes, expected):
    assert counted(function, *shapes) == expected


SHAPE, N, SPECTRUM = (4, 6, 8, 3), 4 * 4 * 6 * 8 * 3, 8 * 4 * 6 * 5 * 3


def rfft2(x, norm='ortho'):
    return torch.fft.rfft2(x.permute(0, 3, 1, 2), norm=norm)


def test_transform():
    copy, kernels, scale = 2 * N, N + 3 * SPECTRUM, 2 * SPECTRUM
    assert counted(rfft2, SHAPE) == (copy + kernels + scale, 4)
    found = counted(lambda x: rfft2(x, 'backward'), SHAPE)
    assert found == (copy + kernels, 3)


def test_transform_without_a_copy():
    kernels, scale = N + 3 * SPECTRUM, 2 * SPECTRUM
    found = counted(lambda x: torch.fft.rfft2(x, norm='ortho'), (4, 3, 6, 8))
    assert found == (kernels + scale, 3)
    # The channels of one image are a batch with a stride.
    found = counted(rfft2, (1, *SHAPE[1:]))
    assert found == ((kernels + scale) // 4, 3)


def test_filter_as_published():
    """8 N + 14 S: that many times the map and its spectrum are moved."""

    def filter(x, kernel):
        spectrum = rfft2(x)
        kernel = torch.view_as_complex(kernel).clone()
        y = torch.fft.irfft2(spectrum * kernel, s=(6, 8), norm='ortho')
        return torch.empty_like(x).copy_(y.permute(0, 2, 3, 1))

    found, _ = counted(filter, SHAPE, (4, 3, 6, 5, 2))
    # The copy of the kernel reads what a product of matrices would make.
    assert found == 8 * N + 14 * SPECTRUM + SPECTRUM


@pytest.mark.parametrize(
    'function',
    [
        lambda x: x.new_tensor([1.0, -1.0]),
        lambda x: torch.ones(2).to(x.device),
        lambda x: x.copy_(torch.ones(2)),
        lambda x: x.cpu(),
    ],
)
def test_copies_from_the_cpu_are_refused(function):
    with pytest.raises(RuntimeError, match='between the CPU and the GPU'):
        counted(function, (2,))


def test_kernels_of_triton():
    triton = pytest.importorskip('triton')
    from mmfft.ops.kernels.launch import launch

    @triton.jit
    def kernel(y, x, size, block: triton.language.constexpr):
        pass

    def start(y, x):
        launch(kernel, 7, y, y, x, 15, block=4, num_warps=1)

    assert counted(start, (5, 3), (5, 3)) == (3 * 60, 1)


def test_scaled_residual_by_kernels():
    pytest.importorskip('triton')
    block, shape = traffic.blocks('dfformer', (64, 64))[2]
    moved = {}
    for path in ('fft', 'triton'):
        with use_path(path):
            found = traffic.count(block, (8, *shape), torch.bfloat16, True)
        moved[path] = found['residual']
    x = 4 * 8 * 4 * 4 * 320
    # Of two residuals: float32 is one x, bfloat16 half of one.
    assert 24 < moved['fft'].bytes / x < 24.5
    # But for a part of the sum for every 16 points.
    assert 12 < moved['triton'].bytes / x < 12.5
    assert moved['fft'].kernels == 2 * 6
    assert moved['triton'].kernels == 2 * 3


def test_backward_pass_is_that_of_autograd():
    torch.manual_seed(0)
    model = DFFormer('s18', img_size=96)
    block, entry = model.stages[2][0], model.stages[2][0].norm1
    x = torch.randn(2, 6, 6, *entry.normalized_shape, requires_grad=True)
    inputs = [x, *block.parameters()]
    y = block(x)
    grad = torch.randn_like(y)
    expected = torch.autograd.grad(y, inputs, grad, retain_graph=True)
    with torch.no_grad():
        found = traffic.backward(traffic.Traffic(), y, grad)
    assert len(found) == len(inputs)
    for tensor, value in zip(inputs, expected):
        torch.testing.assert_close(found[tensor], value)


def test_least_that_is_moved():
    """Linear layers reach it, but for one gradient that is read twice."""
    block, shape = traffic.blocks('dfformer', (32, 32))[0]
    infer = traffic.count(block, (2, *shape), torch.float32, train=False)
    train = traffic.count(block, (2, *shape), torch.float32, train=True)
    size, weights = 4 * 2 * 8 * 8 * 64, 4 * 64 * (2 * 2 + 2 * 4) * 64
    # One to two, two to one, one to four and four to one times the channels.
    ins, outs = size * (1 + 2 + 1 + 4), size * (2 + 1 + 4 + 1)
    assert infer['linear'].floor == weights + ins + outs
    assert infer['linear'].bytes == infer['linear'].floor
    assert train['linear'].floor == 3 * (weights + ins) + 2 * outs
    assert train['linear'].bytes == train['linear'].floor + outs
    assert infer['residual'].bytes == infer['residual'].floor == 6 * size
    for group in ('filter', 'StarReLU', 'norm', 'routing'):
        for counts in (infer, train):
            assert counts[group].bytes >= counts[group].floor > 0
        assert train[group].bytes > infer[group].bytes


def test_autocast_halves_products():
    block, shape = traffic.blocks('cdfformer', (128, 128))[0]
    full, half = (
        traffic.count(block, (2, *shape), dtype, train=False)
        for dtype in (torch.float32, torch.bfloat16)
    )
    for group in ('StarReLU', 'convolution'):
        assert half[group].bytes < 0.6 * full[group].bytes
    assert half['StarReLU'].floor == full['StarReLU'].floor / 2
    # It takes norms in float32.
    assert half['norm'].bytes == full['norm'].bytes
    assert not torch.is_autocast_enabled('cuda')


def test_command_line(tmp_path, capsys):
    out = tmp_path / 'traffic.json'
    options = ['--models', 'cdfformer', '--sizes', '64', '--batch', '2']
    traffic.main([*options, '--path', 'fft', '--out', str(out)])
    rows = json.loads(out.read_text())
    assert [row['grid'] for row in rows[:4]] == ['16x16', '8x8', '4x4', '2x2']
    assert len(rows) == 4 * 2 * 2
    heads, _, *lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(rows)
    for row, line in zip(rows, lines):
        cells = dict(zip(heads.split('|'), line.split('|')))
        total = sum(count['bytes'] for count in row['counts'].values())
        kernels = sum(count['kernels'] for count in row['counts'].values())
        assert cells[' total '].split()[0] == f'{total / 1e6:,.1f}'
        assert cells[' kernels '].strip() == str(kernels)
        assert ('filter' in row['counts']) == (row['grid'] in ('4x4', '2x2'))
