# Copyright (c) mmfft authors. All rights reserved.
"""Whole models under the transforms, tracers and copies of PyTorch."""

import copy
import io
import pickle
import warnings

import pytest
import torch
from tiny_models import build, every_model, loss_of
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jvp, vjp, vmap

STORED, OTHER = (64, 64), (40, 52)
both_sizes = pytest.mark.parametrize('size', [STORED, OTHER], ids=str)


def exact(name, **kwargs):
    """In float64, with two levels, of which one has resized filters."""
    return build(name, out_indices=(0, 1), **kwargs).double()


def image(*size, batch=2):
    g = torch.Generator().manual_seed(0)
    return torch.randn(batch, 3, *size, generator=g, dtype=torch.float64)


def noise(like):
    g = torch.Generator().manual_seed(1)
    return torch.randn(like.shape, generator=g, dtype=like.dtype)


def parameters(model):
    return {k: p.detach() for k, p in model.named_parameters()}


def dot(a, b):
    return sum((x * y).sum() for x, y in zip(a, b, strict=True))


def same(ours, theirs, tolerance=1e-9):
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)


@every_model
@both_sizes
def test_tangents_are_adjoint_to_gradients(name, size):
    model = exact(name)
    x, weights = image(*size), parameters(model)

    def run(weights, x):
        return functional_call(model, weights, (x,))

    tangents = {k: noise(w) for k, w in weights.items()}, noise(x)
    outs, out_tangents = jvp(run, (weights, x), tangents)
    same(outs, model(x))
    assert all(tangent.abs().max() > 0 for tangent in out_tangents)
    cotangents = [noise(out) for out in outs]
    leaves = [*model.parameters(), x.requires_grad_()]
    of_all = torch.autograd.grad(dot(model(x), cotangents), leaves)
    expected = dot(of_all, [*tangents[0].values(), tangents[1]])
    same(dot(out_tangents, cotangents), expected)

    transposed, of_x = vjp(run, weights, x)[1](tuple(cotangents))
    for ours, theirs in zip((*transposed.values(), of_x), of_all):
        same(ours, theirs)

    with torch.no_grad(), forward_ad.dual_level():
        duals = model(forward_ad.make_dual(x, tangents[1]))
        found = [forward_ad.unpack_dual(dual).tangent for dual in duals]
    same(dot(found, cotangents), dot(of_all[-1:], tangents[1:]))


@every_model
@both_sizes
def test_gradients_of_each_sample(name, size):
    model = exact(name)
    x, weights = image(*size), parameters(model)

    def loss(weights, sample):
        return loss_of(functional_call(model, weights, (sample[None],)))

    found = vmap(grad(loss), (None, 0))(weights, x)
    for i, sample in enumerate(x):
        expected = torch.autograd.grad(
            loss_of(model(sample[None])), list(model.parameters())
        )
        for ours, theirs in zip(found.values(), expected):
            same(ours[i], theirs, 1e-8)


@every_model
def test_an_ensemble_without_gradients(name):
    """Weights that are mapped over must not be taken from what is kept."""
    members = [exact(name) for _ in range(2)]
    for i, member in enumerate(members):
        for parameter in member.parameters():
            torch.nn.init.normal_(parameter, std=0.1 + 0.1 * i)
    x = image(*OTHER)
    stacked = {
        k: torch.stack([parameters(member)[k] for member in members])
        for k in parameters(members[0])
    }
    with torch.no_grad():
        members[0](x)
        outs = vmap(
            lambda weights: functional_call(members[0], weights, (x,))
        )(stacked)
        for i, member in enumerate(members):
            for out, expected in zip(outs, member(x)):
                same(out[i], expected)


@every_model
@both_sizes
def test_many_gradients_at_a_time(name, size):
    """A graph of ordinary autograd that is given a batch of gradients."""
    model = build(name, out_indices=1).double()
    (out,), leaves = model(image(*size)), list(model.parameters())
    many = torch.stack((noise(out), noise(out).cos()))
    found = torch.autograd.grad(
        out, leaves, many, is_grads_batched=True, retain_graph=True
    )
    for i, one in enumerate(many):
        expected = torch.autograd.grad(out, leaves, one, retain_graph=True)
        for ours, theirs in zip(found, expected):
            same(ours[i], theirs)


@every_model
@both_sizes
def test_second_derivatives(name, size):
    """Of both orders, and as the difference of two gradients."""
    model = exact(name)
    x = image(*size, batch=1)
    direction = noise(x)

    def loss(x):
        return loss_of(model(x))

    def gradient(x):
        return torch.autograd.grad(loss(x), x)[0]

    step = 1e-6
    ahead, behind = (
        gradient((x + sign * step * direction).requires_grad_())
        for sign in (1, -1)
    )
    expected = (ahead - behind) / (2 * step)
    _, forward = jvp(grad(loss), (x,), (direction,))
    _, reverse = torch.autograd.functional.hvp(loss, x, direction)
    scale = expected.abs().max()
    assert (forward - expected).abs().max() < 1e-4 * scale
    same(reverse / scale, forward / scale)


def gradients(loss, model):
    names, leaves = zip(*sorted(model.named_parameters()))
    return dict(zip(names, torch.autograd.grad(loss, leaves)))


@every_model
@pytest.mark.parametrize('training', [True, False])
def test_symbolic_trace(name, training):
    model = build(name).train(training)
    graph = torch.fx.symbolic_trace(model)
    for size in [(64, 64), (96, 64), (33, 47)]:
        x = torch.randn(2, 3, *size)
        outs, expected = graph(x), model(x)
        same(outs, expected, 1e-6)
        same(
            gradients(loss_of(outs), graph),
            gradients(loss_of(expected), model),
            1e-5,
        )
    with pytest.raises(ValueError, match='the image must have shape'):
        graph(torch.randn(1, 4, 64, 64))
    copied = pickle.loads(pickle.dumps(graph))
    same(copied(x), model(x), 1e-6)


@every_model
@pytest.mark.parametrize('context', [torch.no_grad, torch.enable_grad])
def test_a_traced_module_is_of_one_size(name, context):
    model = build(name).eval()
    with context(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        traced = torch.jit.trace(model, torch.randn(1, 3, 56, 60))
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer)
        buffer.seek(0)
        loaded = torch.jit.load(buffer)
        frozen = torch.jit.freeze(loaded.eval())
        for module in (traced, loaded, frozen):
            x = torch.randn(3, 3, 56, 60)
            same(module(x), model(x), 1e-5)
            # Some have the half spectra, or the very grids, of that size.
            for size in [(56, 61), (56, 56), (57, 60), (56, 64), (60, 56)]:
                with pytest.raises(torch.jit.Error, match='of the image is'):
                    module(torch.randn(1, 3, *size))


@every_model
def test_script_says_what_to_use(name):
    with pytest.raises(NotImplementedError, match=r'script .* torch\.export'):
        torch.jit.script(build(name))


def saved(model):
    buffer = io.BytesIO()
    torch.save(model, buffer)
    return buffer.getvalue()


@every_model
def test_copies_are_whole_and_carry_nothing_that_is_kept(name):
    model = build(name).eval()
    x = torch.randn(1, 3, 96, 64)
    before = len(saved(model)), len(pickle.dumps(model))
    with torch.no_grad():
        expected = model(x)
        assert (len(saved(model)), len(pickle.dumps(model))) == before
        for other in (
            copy.deepcopy(model),
            copy.copy(model),
            pickle.loads(pickle.dumps(model)),
            torch.load(io.BytesIO(saved(model)), weights_only=False),
        ):
            assert type(other) is type(model)
            same(other(x), expected, 0)
