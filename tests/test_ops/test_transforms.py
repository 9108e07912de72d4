# Copyright (c) mmfft authors. All rights reserved.
"""The transforms of PyTorch on every function, against plain formulas.

Formulas are written with ``torch.fft``, or as the matrix that a linear
function has by its values, and go through the same transform.
"""

import pytest
import torch
from oracle.filters import as_complex, mixture, whole
from torch.autograd import forward_ad

from mmfft.ops import (
    FILTER_RESIZE_MODES,
    dynamic_spectral_filter,
    half_spectrum_shape,
    irfft2,
    resize_filter,
    rfft2,
    spectral_filter,
    use_path,
)

GRIDS = [(4, 6), (5, 7), (1, 1), (3, 2)]


def plain_inverse(spectrum):
    return torch.fft.ifft2(spectrum, dim=(1, 2), norm='ortho').real


def plain_filter(x, kernel):
    spectrum = torch.fft.fft2(x, dim=(1, 2), norm='ortho')
    return plain_inverse(spectrum * whole(kernel, x.shape[2]))


def plain_static(x, filter):
    return plain_filter(x, as_complex(filter))


def plain_dynamic(x, routing, basis):
    return plain_filter(x, mixture(routing, as_complex(basis)))


def spectra(x):
    real, imag = rfft2(x)
    return irfft2(real.square(), real * imag, x.shape[2])


def plain_spectra(x):
    spectrum = torch.fft.rfft2(x, dim=(1, 2), norm='ortho')
    return plain_inverse(whole(spectrum.real * spectrum, x.shape[2]))


def tensors(*shapes):
    g = torch.Generator().manual_seed(0)
    return tuple(
        torch.randn(*shape, generator=g, dtype=torch.float64)
        for shape in shapes
    )


def case(name, grid, mode=None):
    """Our function, the plain one, and arguments of both."""
    half = half_spectrum_shape(grid)
    if name == 'static':
        return (
            spectral_filter,
            plain_static,
            tensors((2, *grid, 3), (*half, 3, 2)),
        )
    if name == 'dynamic':
        return (
            dynamic_spectral_filter,
            plain_dynamic,
            tensors((2, *grid, 3), (2, 2, 3), (*half, 2, 2)),
        )
    if name == 'transforms':
        return spectra, plain_spectra, tensors((2, *grid, 3))
    new_grid = (grid[0] + 2, max(1, grid[1] - 2))

    def resize(filter):
        return resize_filter(filter, grid, new_grid, mode)

    (filter,) = tensors((*half, 2, 2))
    units = torch.eye(filter.numel(), dtype=filter.dtype)
    matrix = torch.stack([resize(unit.view_as(filter)) for unit in units], -1)
    return resize, lambda filter: matrix @ filter.flatten(), (filter,)


CASES = [
    *('static', 'dynamic', 'transforms'),
    *(f'resize-{mode}' for mode in FILTER_RESIZE_MODES),
]


@pytest.fixture(params=[(n, g) for n in CASES for g in GRIDS], ids=str)
def functions(request):
    name, grid = request.param
    kind, _, mode = name.partition('-')
    return case(kind, grid, mode)


def cubes(function):
    """A number of which derivatives of every order differ."""
    return lambda *args: function(*args).pow(3).sum()


def places(args):
    return tuple(range(len(args)))


def same(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-9)


def tangents(args):
    return tuple(arg.flip(0).cos() for arg in args)


def test_forward_mode(functions):
    ours, plain, args = functions
    result = torch.func.jvp(ours, args, tangents(args))
    expected = torch.func.jvp(plain, args, tangents(args))
    assert expected[1].abs().max() > 0
    same(result, expected)
    with forward_ad.dual_level():
        duals = map(forward_ad.make_dual, args, tangents(args))
        same(tuple(forward_ad.unpack_dual(ours(*duals))), expected)


def test_jacobians(functions):
    ours, plain, args = functions
    expected = torch.func.jacrev(plain, places(args))(*args)
    same(torch.func.jacfwd(ours, places(args))(*args), expected)
    same(torch.func.jacrev(ours, places(args))(*args), expected)


def test_hessians(functions):
    ours, plain, args = (*map(cubes, functions[:2]), functions[2])
    expected = torch.func.hessian(plain, places(args))(*args)
    same(torch.func.hessian(ours, places(args))(*args), expected)


def test_vmap(functions):
    """Over each argument alone, and the gradient of each sample."""
    ours, plain, args = functions
    for i in places(args):
        many = list(args)
        many[i] = torch.stack((args[i], args[i].cos()), dim=1)
        dims = tuple(1 if j == i else None for j in places(args))
        results, expected = (
            (
                torch.vmap(function, dims)(*many),
                torch.vmap(torch.func.grad(cubes(function), i), dims)(*many),
            )
            for function in (ours, plain)
        )
        for result, wanted in zip(results, expected):
            same(result, wanted)


@pytest.mark.parametrize('path', ['fft', 'matmul'])
def test_backward_differentiated(functions, path):
    """Backward through backward, as a gradient penalty does."""
    ours, plain, args = functions
    args = [arg.requires_grad_() for arg in args]

    def penalty(function):
        loss = cubes(function)(*args)
        grads = torch.autograd.grad(loss, args, create_graph=True)
        penalty = sum(grad.square().sum() for grad in grads)
        return torch.autograd.grad(penalty, args)

    with use_path(path):
        same(penalty(ours), penalty(plain))


def test_backward_of_some_arguments_differentiated():
    """Only of those that need one, and each apart from where it comes from."""
    ours, plain, (x, routing, basis) = case('dynamic', (4, 5))
    x.requires_grad_()

    def penalty(function):
        y = function(x, x[:, 0, :2] * routing, basis)
        (grad,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad(grad.square().sum(), x)

    same(penalty(ours), penalty(plain))


def test_backward_transformed(functions):
    """Gradients and their tangents given to a graph that was there before."""
    ours, plain, args = functions
    args = [arg.requires_grad_() for arg in args]
    y, expected = ours(*args), plain(*args)
    grads = torch.stack((y.detach(), y.detach().cos()))
    same(
        torch.autograd.grad(
            y, args, grads, is_grads_batched=True, retain_graph=True
        ),
        torch.autograd.grad(
            expected,
            args,
            grads.view(2, *expected.shape),
            is_grads_batched=True,
            retain_graph=True,
        ),
    )
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(grads[0], grads[1])
        ours = torch.autograd.grad(y, args, dual)
        dual = dual.view(expected.shape)
        theirs = torch.autograd.grad(expected, args, dual)
        for a, b in zip(ours, theirs):
            same(*(forward_ad.unpack_dual(grad).tangent for grad in (a, b)))


@pytest.mark.parametrize('path', ['fft', 'matmul'])
def test_a_forced_path_has_tangents(path):
    ours, plain, args = case('static', (4, 6))
    with use_path(path):
        result = torch.func.jvp(ours, args, tangents(args))
    same(result, torch.func.jvp(plain, args, tangents(args)))


@pytest.mark.slow
@pytest.mark.parametrize('name', ['static', 'dynamic', 'transforms'])
def test_compiled_transforms(name):
    ours, plain, args = case(name, (4, 6))
    torch.compiler.reset()

    @torch.compile(fullgraph=True, backend='aot_eager')
    def compiled(*args):
        tangent = torch.func.jvp(ours, args, tangents(args))[1]
        return tangent, torch.func.grad(cubes(ours))(*args)

    expected = torch.func.jvp(plain, args, tangents(args))[1]
    same(compiled(*args), (expected, torch.func.grad(cubes(plain))(*args)))
    torch.compiler.reset()
