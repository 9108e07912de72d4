# Copyright (c) mmfft authors. All rights reserved.
"""Maps that are extended, against convolution tap by tap."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from oracle.boundary import filtered_in_space, kernel_of
from oracle.filters import as_complex

from mmfft.errors import ConfigError
from mmfft.ops import (
    BOUNDARIES,
    extend,
    extended_grid,
    half_spectrum_shape,
    resize_filter,
    spectral_filter,
    use_path,
)

GRIDS = [(6, 8), (5, 7), (4, 3), (1, 1), (1, 9), (10, 1), (2, 2), (3, 2)]
PAIRS = list(product(BOUNDARIES, BOUNDARIES))


def map_and_filter(grid, channels=2, dtype=torch.float64):
    g = torch.Generator().manual_seed(0)
    shapes = (3, *grid, channels), (*half_spectrum_shape(grid), channels, 2)
    return [torch.randn(*shape, generator=g).to(dtype) for shape in shapes]


def filtered(x, filter, boundary):
    """As the layers compose it."""
    grid = tuple(x.shape[1:3])
    extended = extended_grid(grid, boundary)
    filter = resize_filter(filter, grid, extended, 'kernel')
    y = spectral_filter(extend(x, boundary), filter)
    return y[:, : grid[0], : grid[1]]


def plainly(x, filter, boundary):
    kernel = kernel_of(as_complex(filter), x.shape[2])
    return filtered_in_space(x, kernel, boundary)


@pytest.mark.parametrize('path', ['fft', 'matmul', 'export'])
@pytest.mark.parametrize('boundary', PAIRS, ids='-'.join)
def test_it_is_convolution_by_the_taps(boundary, path):
    for grid in GRIDS:
        x, filter = map_and_filter(grid)
        with use_path(path):
            y = filtered(x, filter, boundary)
        torch.testing.assert_close(y, plainly(x, filter, boundary))


@pytest.mark.parametrize('mode', ['zero', 'reflect'])
@pytest.mark.parametrize('grid', [(5, 7), (7, 7), (9, 3)])
def test_it_is_pytorchs_own_convolution(mode, grid):
    """Between its borders, of a kernel with an odd number of taps."""
    x, filter = map_and_filter(grid, channels=1)
    kernel = kernel_of(as_complex(filter), grid[1])[..., 0]
    # F.conv2d correlates.
    kernel = kernel.roll([n // 2 for n in grid], (0, 1)).flip(0, 1)
    padding = [n // 2 for n in reversed(grid) for _ in 'ab']
    padded = F.pad(
        x.permute(0, 3, 1, 2),
        padding,
        mode='constant' if mode == 'zero' else mode,
    )
    expected = F.conv2d(padded, kernel[None, None]).permute(0, 2, 3, 1)
    torch.testing.assert_close(filtered(x, filter, mode), expected)


@pytest.mark.parametrize('grid', GRIDS)
def test_a_mirrored_map_is_one_period(grid):
    """What is behind the crop is the mirror image of what is in it."""
    x, filter = map_and_filter(grid)
    mirrored = extend(x, 'reflect')
    assert mirrored.shape[1:3] == extended_grid(grid, 'reflect')
    for dim in (1, 2):
        back = mirrored.flip(dim).roll(1, dim)
        torch.testing.assert_close(back, mirrored, rtol=0, atol=0)


@pytest.mark.parametrize(
    'boundary, grid, extended',
    [
        ('circular', (6, 7), (6, 7)),
        ('zero', (6, 7), (9, 10)),
        ('zero', (1, 2), (1, 3)),
        ('reflect', (6, 7), (10, 12)),
        ('reflect', (1, 2), (1, 2)),
        (('zero', 'reflect'), (6, 7), (9, 12)),
        (['circular', 'zero'], (6, 7), (6, 10)),
    ],
)
def test_sizes(boundary, grid, extended):
    assert extended_grid(grid, boundary) == extended
    x, _ = map_and_filter(grid)
    y = extend(x, boundary)
    assert y.shape[1:3] == extended
    assert torch.equal(y[:, : grid[0], : grid[1]], x)


def test_a_circular_map_is_not_copied():
    x, _ = map_and_filter((4, 5))
    assert extend(x, 'circular') is x


@pytest.mark.parametrize('size', [5, 6])
@pytest.mark.parametrize('boundary', BOUNDARIES)
def test_only_a_circular_filter_wraps_around(boundary, size):
    """A point in the last row and column, a filter of every tap."""
    _, filter = map_and_filter((size, size), channels=1)
    x = torch.zeros(1, size, size, 1, dtype=torch.float64)
    x[0, -1, -1] = 1
    y = filtered(x, filter, boundary)[0, ..., 0]
    far = size - 1 - size // 2  # rows that the longest tap does not reach
    reached = y.abs() > 1e-9
    if boundary == 'circular':
        assert reached.all()
    else:
        assert not reached[:far].any() and not reached[:, :far].any()
        assert reached[far:, far:].all()


@pytest.mark.parametrize(
    'boundary', [('zero', 'reflect'), ('reflect', 'zero')]
)
@pytest.mark.parametrize('grid', [(3, 2), (1, 4)])
def test_gradients(boundary, grid):
    x, filter = map_and_filter(grid, channels=1)
    assert torch.autograd.gradcheck(
        lambda *given: filtered(*given, boundary),
        (x.requires_grad_(), filter.requires_grad_()),
    )


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('boundary', PAIRS, ids='-'.join)
def test_half_precision(boundary, dtype):
    x, filter = map_and_filter((6, 7), dtype=dtype)
    y = filtered(x, filter, boundary)
    assert y.dtype == dtype
    expected = plainly(x.double(), filter.double(), boundary)
    error = (y.double() - expected).norm() / expected.norm()
    assert error < (2e-2 if dtype == torch.bfloat16 else 2e-3)


@pytest.mark.parametrize(
    'boundary', ['Zero', 'replicate', None, 0, ('zero',), ('zero', 'same')]
)
def test_a_wrong_boundary(boundary):
    with pytest.raises(
        ConfigError, match=r"boundary must be .*'reflect'"
    ) as e:
        extend(torch.zeros(1, 2, 2, 1), boundary)
    assert repr(boundary) in str(e.value)
