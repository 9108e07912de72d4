# Copyright (c) mmfft authors. All rights reserved.
"""torch.compile of whole backbones, without a break in the graph.

Most of it with the backend that traces everything but generates no code,
which takes a compiler a minute a model; what is generated is tested once.
"""

import os
import shutil

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from mmfft.models import CDFFormer, DFFormer, GFFormer, GFNet, GFNetPyramid
from mmfft.ops import convolution
from mmfft.ops.convolution import HAS_FREE_SIZES

pytestmark = pytest.mark.slow

SMALL = dict(embed_dims=[8, 16, 16, 16], depths=[1, 1, 1, 1])
BACKBONES = {
    'dfformer': (DFFormer, dict(arch=SMALL, out_indices=1)),
    'afno': (
        DFFormer,
        dict(arch=SMALL, out_indices=0, token_mixers=('AFNO2D',) * 4),
    ),
    # Convolutions at one stage, filters at the other.
    'cdfformer': (
        CDFFormer,
        dict(
            arch=SMALL,
            out_indices=1,
            token_mixers=('SepConv', *('DynamicFilter',) * 3),
        ),
    ),
    'gfformer': (GFFormer, dict(arch=SMALL, out_indices=0)),
    'gfnet': (GFNet, dict(arch=dict(embed_dim=8, depth=1), patch_size=8)),
    'gfnet-h': (
        GFNetPyramid,
        dict(arch=dict(**SMALL, layer_scale=0.5), out_indices=1),
    ),
}


def build(name, **kwargs):
    cls, options = BACKBONES[name]
    torch.manual_seed(0)
    return cls(**{'img_size': 64, **options, **kwargs})


def close(ours, theirs, scale=None):
    scale = theirs.abs().max() if scale is None else scale
    assert (ours - theirs).abs().max() <= 1e-4 * scale + 1e-6


def train_step(run, model, x):
    outs = run(x)
    generator = torch.Generator().manual_seed(0)
    loss = sum(
        (out * torch.randn(out.shape, generator=generator)).sum()
        for out in outs
    )
    model.zero_grad()
    loss.backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters()}
    return outs, grads


def same_step(compiled, model, x):
    outs, grads = train_step(compiled, model, x)
    expected_outs, expected = train_step(model, model, x)
    for ours, theirs in zip(outs, expected_outs):
        close(ours, theirs)
    largest = max(grad.abs().max() for grad in expected.values())
    for name, grad in expected.items():
        # The terms of a scalar's gradient, as many as there are features, all
        # but cancel: its rounding is that of the terms.
        close(grads[name], grad, largest if grad.numel() == 1 else None)


def more_graphs(sizes):
    """That sizes may take: none, or before PyTorch 2.10 one each."""
    return 0 if HAS_FREE_SIZES else len(sizes)


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize('name', BACKBONES)
def test_one_graph_for_all_sizes(name):
    model = build(name)
    graphs = CompileCounterWithBackend('aot_eager')
    compiled = torch.compile(
        model, fullgraph=True, dynamic=True, backend=graphs
    )
    same_step(compiled, model, torch.randn(2, 3, 72, 96))
    graphs_at_first = graphs.frame_count
    sizes = [(64, 64), (96, 80), (61, 47)]
    for size in sizes:
        same_step(compiled, model, torch.randn(2, 3, *size))
    assert graphs.frame_count <= graphs_at_first + more_graphs(sizes)


def test_sizes_by_formulas(monkeypatch):
    """As PyTorch before 2.10 needs them."""
    monkeypatch.setattr(convolution, 'HAS_FREE_SIZES', False)
    model = build('gfformer')
    graphs = CompileCounterWithBackend('aot_eager')
    compiled = torch.compile(
        model, fullgraph=True, dynamic=True, backend=graphs
    )
    sizes = [(72, 96), (64, 64), (61, 47)]
    for size in sizes:
        same_step(compiled, model, torch.randn(2, 3, *size))
    assert graphs.frame_count <= len(sizes)


@pytest.mark.skipif(
    not shutil.which(os.environ.get('CXX', 'g++')),
    reason='PyTorch generates C++ for a CPU, and there is no compiler',
)
def test_generated_code():
    """The default: the size at first fixed, then free, then no new graph."""
    model = build('dfformer', out_indices=0)
    graphs = CompileCounterWithBackend('inductor')
    compiled = torch.compile(model, fullgraph=True, backend=graphs)
    for size in [(64, 64), (96, 80)]:
        same_step(compiled, model, torch.randn(2, 3, *size))
    graphs_at_second = graphs.frame_count
    sizes = [(61, 47), (80, 112), (64, 64)]
    for size in sizes:
        same_step(compiled, model, torch.randn(2, 3, *size))
    assert graphs.frame_count <= graphs_at_second + more_graphs(sizes)
    model.eval()
    with torch.no_grad():
        for size in [(64, 64), (72, 60)]:
            x = torch.randn(1, 3, *size)
            close(compiled(x)[0], model(x)[0])
