# Copyright (c) mmfft authors. All rights reserved.
"""Features of an image in a padded batch, and of the image alone."""

import io

import pytest
import torch
from tiny_models import build, every_model, loss_of
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from mmfft.errors import ConfigError
from mmfft.layers import HalfSpectrum

IMAGE = (77, 103)
# Sizes of the other images, odd ones and the smallest among them; the image
# is padded on no side, on one and on both.
BATCHES = {
    'larger': [(96, 160)],
    'wider': [(50, 131), (77, 90)],
    'higher': [(129, 64), (129, 64), (11, 103)],
    'equal and larger': [(77, 103), (90, 110)],
    'smaller': [(40, 41), (33, 8), (8, 8)],
}


def as_if_trained(model):
    """Give filters and norms an effect, which they hardly have at first."""
    torch.manual_seed(1)
    for layer in model.modules():
        if isinstance(layer, HalfSpectrum):
            nn.init.normal_(layer.weight, std=0.5)
        elif isinstance(layer, nn.LayerNorm):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
        elif isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
            if layer.bias is not None:
                nn.init.normal_(layer.bias, std=0.1)
    return model.eval()


def batch_of(sizes, fill=0.0):
    """Images of a size and seed each, right and below padded."""
    whole = [max(sides) for sides in zip(*sizes)]
    batch = torch.full((len(sizes), 3, *whole), fill)
    for seed, (image, (rows, columns)) in enumerate(zip(batch, sizes)):
        generator = torch.Generator().manual_seed(seed)
        image[:, :rows, :columns] = torch.randn(
            3, rows, columns, generator=generator
        )
    return batch


def difference(batch, alone, index):
    """Largest difference in the image, over the largest of its features."""
    differences = []
    for ours, theirs in zip(batch, alone):
        rows, columns = theirs.shape[2:]
        inner = ours[index, :, :rows, :columns]
        differences.append((inner - theirs[0]).abs().max() / theirs.std())
    return max(differences)


@every_model
@torch.no_grad()
def test_an_image_has_the_features_that_it_has_alone(name):
    model = as_if_trained(build(name))
    alone = model(batch_of([IMAGE]))
    for others in BATCHES.values():
        sizes = [IMAGE, *others]
        for fill in (0.0, 2.0):
            batch = batch_of(sizes, fill)
            outs = model(batch, valid_sizes=sizes)
            assert difference(outs, alone, 0) < 1e-5
            assert [o.shape for o in outs] == [o.shape for o in model(batch)]
            assert all(o.is_contiguous() for o in outs)
        # The order of the images does not matter.
        turned = model(batch.flip(0), valid_sizes=sizes[::-1])
        assert difference(turned, alone, -1) < 1e-5


@every_model
@torch.no_grad()
def test_without_sizes_the_padding_is_seen(name):
    model = as_if_trained(build(name))
    alone = model(batch_of([IMAGE]))
    for others in ('larger', 'wider', 'higher', 'equal and larger'):
        batch = batch_of([IMAGE, *BATCHES[others]], fill=2.0)
        assert difference(model(batch), alone, 0) > 1e-2


@torch.no_grad()
def test_features_beyond_an_image_are_zero():
    model = as_if_trained(build('cdfformer'))
    sizes = [(64, 64), (40, 50)]
    outs = model(batch_of(sizes), valid_sizes=sizes)
    for out, (rows, columns) in zip(outs, model.grids((40, 50))):
        assert out[1, :, :rows, :columns].abs().min() > 0
        assert not out[1, :, rows:].any() and not out[1, :, :, columns:].any()


def test_images_of_one_size_are_computed_together():
    model = build('dfformer')
    sizes = [(64, 64), (40, 48), (64, 64), (40, 48), (40, 48)]
    seen = []
    model.stages[0][0].register_forward_pre_hook(
        lambda block, args: seen.append(tuple(args[0].shape[:3]))
    )
    model(batch_of(sizes), valid_sizes=sizes)
    assert seen == [(2, 16, 16), (3, 10, 12)]
    seen.clear()
    model(torch.zeros(4, 3, 64, 64), valid_sizes=[(64, 64)] * 4)
    assert seen == [(4, 16, 16)]


@every_model
@pytest.mark.parametrize('with_cp', [False, True])
def test_gradients_are_those_of_the_images_alone(name, with_cp):
    sizes = [(64, 64), (40, 57), (64, 64), (57, 40)]
    model = build(name, with_cp=with_cp).double()
    batch = batch_of(sizes).double().requires_grad_()
    loss_of(model(batch, valid_sizes=sizes)).backward()
    ours = [p.grad.clone() for p in model.parameters()]
    of_batch = batch.grad.clone()
    model.zero_grad()
    batch.grad = None
    for image, (rows, columns) in zip(batch, sizes):
        loss_of(model(image[None, :, :rows, :columns])).backward()
    for one, parameter in zip(ours, model.parameters()):
        torch.testing.assert_close(one, parameter.grad)
    torch.testing.assert_close(of_batch, batch.grad)


@torch.no_grad()
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast(dtype):
    model = as_if_trained(build('cdfformer'))
    sizes = [(64, 64), (40, 57)]
    batch = batch_of(sizes)
    with torch.autocast('cpu', dtype):
        ours = model(batch, valid_sizes=sizes)
        alone = model(batch[1:, :, :40, :57])
    assert [o.dtype for o in ours] == [o.dtype for o in alone]
    assert difference(ours, alone, 1) < 0.05


def test_an_empty_batch():
    outs = build('dfformer')(torch.zeros(0, 3, 64, 64), valid_sizes=[])
    assert [len(out) for out in outs] == [0] * 4


@pytest.mark.parametrize(
    'sizes, words',
    [
        ([(64, 64)], r'of each of the 2 images of the batch, got 1 sizes'),
        ([(64, 64), (65, 64)], r'valid_sizes\[1\].*got \(65, 64\)'),
        ([(2, 64), (64, 64)], r'valid_sizes\[0\].*at least 3 and at most'),
    ],
)
def test_sizes_that_do_not_fit(sizes, words):
    with pytest.raises(ConfigError, match=words):
        build('dfformer')(torch.zeros(2, 3, 64, 64), valid_sizes=sizes)


def test_a_graph_that_leaves_python_has_no_sizes():
    model = build('dfformer').eval()

    class Padded(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x, valid_sizes=[(40, 40)])

    x = torch.randn(1, 3, 64, 64)
    words = 'valid_sizes cannot be a part of an exported or traced graph'
    with pytest.raises(ConfigError, match=words):
        torch.jit.trace(Padded(), x)
    with pytest.raises(ConfigError, match=words):
        torch.onnx.export(Padded(), x, io.BytesIO(), dynamo=False)
    with pytest.raises(Exception, match=words):
        torch.export.export(Padded(), (x,))


def test_a_graph_of_fx_refuses_sizes():
    graph = torch.fx.symbolic_trace(build('dfformer').eval())
    with pytest.raises(ConfigError, match='not a part of a graph of torch.fx'):
        graph(torch.randn(1, 3, 64, 64), [(40, 40)])


@torch.no_grad()
def test_a_compiled_backbone_runs_padded_batches_uncompiled():
    model = as_if_trained(build('dfformer'))
    torch._dynamo.reset()
    counter = CompileCounterWithBackend('aot_eager')
    compiled = torch.compile(model, backend=counter)
    for sizes in ([(64, 64), (40, 57)], [(60, 64), (33, 47)]):
        batch = batch_of(sizes)
        outs = compiled(batch, valid_sizes=sizes)
        for ours, theirs in zip(outs, model(batch, valid_sizes=sizes)):
            torch.testing.assert_close(ours, theirs)
    # Graphs of sizes, perhaps, but not of an operator.
    nodes = [node for graph in counter.graphs for node in graph.graph.nodes]
    assert not [node for node in nodes if node.op.startswith('call')]
    torch._dynamo.reset()
    whole = torch.compile(model, backend=counter, fullgraph=True)
    for ours, theirs in zip(whole(batch), model(batch)):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    with pytest.raises(torch._dynamo.exc.Unsupported, match='disable'):
        whole(batch, valid_sizes=sizes)
