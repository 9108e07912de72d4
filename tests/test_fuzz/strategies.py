# Copyright (c) mmfft authors. All rights reserved.
"""What the fuzzing draws from, and how much of it.

``make test`` takes the same few cases each time; ``make fuzz`` sets
``MMFFT_FUZZ_EXAMPLES`` and draws thousands that nobody has seen.
"""

import os

import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get('MMFFT_FUZZ_EXAMPLES', '0'))


def fuzzed(share=1.0):
    """Settings of a test, which takes ``share`` of the examples."""
    return settings(
        max_examples=max(1, round(share * (EXAMPLES or 15))),
        derandomize=not EXAMPLES,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        # The search for a smaller case takes minutes: `make fuzz` does it.
        phases=[
            Phase.generate,
            *([Phase.reuse, Phase.shrink] * bool(EXAMPLES)),
        ],
    )


def sizes(most):
    """Numbers of pixels: often few, where the corner cases are."""
    return st.one_of(st.integers(1, 9), st.integers(1, most))


# Up to an image of 257x400.
grids = st.tuples(sizes(257), sizes(400))
small_grids = st.tuples(sizes(40), sizes(40))
dtypes = st.sampled_from(
    [torch.float64, torch.float32, torch.bfloat16, torch.float16]
)
# Error allowed, over the largest value of the result.
TOLERANCE = {
    torch.float64: 1e-11,
    torch.float32: 2e-5,
    torch.bfloat16: 2e-2,
    torch.float16: 2e-3,
}
LAYOUTS = ('contiguous', 'transposed', 'strided', 'expanded', 'offset')


def laid_out(tensor, layout):
    """The same values in memory in another way."""
    if layout == 'transposed':
        return tensor.transpose(0, -1).contiguous().transpose(0, -1)
    if layout == 'strided':
        doubled = tensor.repeat_interleave(2, -1).repeat_interleave(3, 1)
        return doubled[:, ::3, ..., ::2]
    if layout == 'expanded':
        return tensor[:, :1].expand(tensor.shape)
    if layout == 'offset':
        room = torch.zeros(tensor.numel() + 3, dtype=tensor.dtype)
        # Odd, where a pair of numbers cannot be read as a complex one.
        return room[3:].view(tensor.shape).copy_(tensor)
    return tensor.contiguous()


layouts = st.sampled_from(LAYOUTS)
seeds = st.integers(0, 2**16)


def randn(*shape, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return values.to(dtype)


def assert_near(found, expected, dtype):
    """Compare with a result in float64, by the largest value of it."""
    scale = expected.abs().max().item() if expected.numel() else 0.0
    error = (found.double() - expected).abs()
    worst = error.max().item() if error.numel() else 0.0
    assert worst <= TOLERANCE[dtype] * max(scale, 1e-3), (worst, scale)
