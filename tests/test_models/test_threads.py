# Copyright (c) mmfft authors. All rights reserved.
"""One model in many threads, as a server calls it: images of any size."""

import copy
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from tiny_models import build

SIZES = [(32, 32), (32, 40), (40, 32), (24, 56)]
THREADS = 4
ROUNDS = 60


@pytest.fixture
def hasty_threads():
    """They take turns as often as Python allows."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def expected(model, images):
    """Each by a model that has seen no other size."""
    with torch.no_grad():
        return [copy.deepcopy(model)(x) for x in images]


def wrong_answers(model, images, wanted):
    def serve(thread):
        # Both modes at a time, since what one keeps the other one finds.
        mode = torch.inference_mode if thread % 2 else torch.no_grad
        wrong = 0
        with mode():
            for i in range(ROUNDS):
                k = (i * (thread + 1) + thread) % len(images)
                outs = model(images[k])
                wrong += any(
                    a.shape != b.shape or not torch.allclose(a, b, atol=1e-5)
                    for a, b in zip(outs, wanted[k])
                )
        return wrong

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(serve, range(THREADS)))


@pytest.mark.parametrize('name', ['gfnet', 'dfformer'])
def test_many_sizes_at_a_time(name, hasty_threads):
    model = build(name, out_indices=1).eval()
    torch.manual_seed(0)
    images = [torch.randn(1, 3, *size) for size in SIZES]
    assert not wrong_answers(model, images, expected(model, images))
    # Other weights, in the same memory and in another.
    for _ in range(2):
        other = build(name, out_indices=1)
        for parameter in other.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
        model.load_state_dict(other.state_dict())
        assert not wrong_answers(model, images, expected(model, images))
        model.double().float()
    # What the threads left serves training too.
    model.train()(images[1])[0].sum().backward()
    assert all(p.grad is not None for p in model.parameters())
