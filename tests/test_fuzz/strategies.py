# Copyright (c) mmfft authors. All rights reserved.
"""Strategies of the fuzz tests, and the number of their examples.

``make test`` runs the same few examples each time. ``make fuzz`` sets
``MMFFT_FUZZ_EXAMPLES`` and draws thousands of new ones.
"""

import os

import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get('MMFFT_FUZZ_EXAMPLES', '0'))


def fuzzed(share=1.0):
    """Return the settings of a test that takes a share of the examples."""
    return settings(
        max_examples=max(1, round(share * (EXAMPLES or 15))),
        derandomize=not EXAMPLES,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        # Shrinking takes minutes, so only `make fuzz` does it.
        phases=[
            Phase.generate,
            *([Phase.reuse, Phase.shrink] * bool(EXAMPLES)),
        ],
    )


def sizes(most):
    """Numbers of pixels, often small ones, which are the corner cases."""
    return st.one_of(st.integers(1, 9), st.integers(1, most))


# Up to an image of 257x400.
grids = st.tuples(sizes(257), sizes(400))
small_grids = st.tuples(sizes(40), sizes(40))
dtypes = st.sampled_from(
    [torch.float64, torch.float32, torch.bfloat16, torch.float16]
)
# Largest error, relative to the largest value of the result.
TOLERANCE = {
    torch.float64: 1e-11,
    torch.float32: 2e-5,
    torch.bfloat16: 2e-2,
    torch.float16: 2e-3,
}
LAYOUTS = ('contiguous', 'transposed', 'strided', 'expanded', 'offset')


def laid_out(tensor, layout):
    """Return the same values with another layout in memory."""
    if layout == 'transposed':
        return tensor.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == 'strided':
        doubled = tensor.repeat_interleave(2, -1).repeat_interleave(3, 1)
        return doubled[:, ::3, ..., ::2]
    if layout == 'expanded':
        return tensor[:, :1].expand(tensor.shape)
    if layout == 'offset':
        room = torch.zeros(tensor.numel() + 3, dtype=tensor.dtype)
        # At an odd offset, where pairs cannot be viewed as complex numbers.
        return room[3:].view(tensor.shape).copy_(tensor)
    return tensor.contiguous()


layouts = st.sampled_from(LAYOUTS)
seeds = st.integers(0, 2**16)


def randn(*shape, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return values.to(dtype)


def assert_near(found, expected, dtype):
    """Compare with a result in float64, relative to its largest value."""
    scale = expected.abs().max().item() if expected.numel() else 0.0
    error = (found.double() - expected).abs()
    worst = error.max().item() if error.numel() else 0.0
    assert worst <= TOLERANCE[dtype] * max(scale, 1e-3), (worst, scale)
