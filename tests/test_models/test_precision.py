# Copyright (c) mmfft authors. All rights reserved.
"""Half precision against float32, on the weights of the records.

The bounds are the ones that README.md states: relative error of a level's
features in the norm of the whole tensor.
"""

import copy

import pytest
import torch
from published_records import backbone, published_state_dict

from mmfft.checkpoints import convert_published

ARCHS = (
    'dfformer_s18',
    'cdfformer_s18',
    'gfformer_s18',
    'gfnet-ti',
    'gfnet-h-ti',
)
BOUNDS = {torch.bfloat16: 0.06, torch.float16: 0.008}
every_arch = pytest.mark.parametrize('arch', ARCHS)
every_dtype = pytest.mark.parametrize('dtype', BOUNDS, ids=str)


@pytest.fixture(scope='module')
def models():
    """Of an arch: the model in float32, an image and its features."""
    made = {}

    def get(arch):
        if arch not in made:
            weights = convert_published(published_state_dict(arch))
            model = backbone(arch, img_size=224).eval()
            model.load_state_dict(weights, strict=False)
            generator = torch.Generator().manual_seed(0)
            # A grid that the filters are resized to.
            image = torch.randn(1, 3, 96, 128, generator=generator)
            with torch.no_grad():
                made[arch] = model, image, model(image)
        return made[arch]

    return get


def errors(outs, expected):
    return [
        ((out.float() - e).norm() / e.norm()).item()
        for out, e in zip(outs, expected, strict=True)
    ]


@every_dtype
@every_arch
def test_model_in_half_precision(models, arch, dtype):
    model, image, expected = models(arch)
    with torch.no_grad():
        outs = copy.deepcopy(model).to(dtype)(image.to(dtype))
    assert {out.dtype for out in outs} == {dtype}
    assert max(errors(outs, expected)) < BOUNDS[dtype]


@every_dtype
@every_arch
def test_autocast(models, arch, dtype):
    model, image, expected = models(arch)
    with torch.no_grad(), torch.autocast('cpu', dtype=dtype):
        outs = model(image)
    assert max(errors(outs, expected)) < BOUNDS[dtype]


@every_dtype
@every_arch
def test_gradients_under_autocast(models, arch, dtype):
    model, image, _ = models(arch)

    def gradients(enabled):
        model.zero_grad()
        with torch.autocast('cpu', dtype=dtype, enabled=enabled):
            outs = model(image)
        # Not plain sums: the norms at the end would make them constants.
        loss = sum(
            out.float().flatten()
            @ torch.linspace(-1, 1, out.numel())
            / out.numel()
            for out in outs
        )
        loss.backward()
        return {n: p.grad.clone() for n, p in model.named_parameters()}

    expected, found = gradients(False), gradients(True)
    total = sum(g.square().sum() for g in expected.values()).sqrt()
    error = sum((found[n] - g).square().sum() for n, g in expected.items())
    assert error.sqrt() / total < 2 * BOUNDS[dtype]
