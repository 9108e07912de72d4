# Copyright (c) mmfft authors. All rights reserved.
from types import SimpleNamespace

import pytest
import torch

from mmfft.errors import ConfigError
from mmfft.layers import GlobalFilter, HalfSpectrum
from mmfft.ops import resize_filter


@pytest.fixture
def resizes(monkeypatch):
    """Every resize that a HalfSpectrum really makes."""
    calls = []

    def counting(self, weight, old_grid, new_grid):
        calls.append((old_grid, new_grid))
        return resize_filter(weight, old_grid, new_grid, self.filter_resize)

    monkeypatch.setattr(HalfSpectrum, 'resize', counting)
    return calls


def test_its_own_grid_is_the_parameter(resizes):
    filters = HalfSpectrum((5, 6), 2)
    assert filters((5, 6)) is filters.weight
    assert not resizes


def test_evaluation_resizes_once_a_grid(resizes):
    filters = HalfSpectrum((5, 6), 2).eval()
    with torch.no_grad():
        first = filters((8, 9))
        assert filters((8, 9)) is first
        filters((7, 9))
        torch.testing.assert_close(filters((8, 9)), first)
    assert [new for _, new in resizes] == [(8, 9), (7, 9), (8, 9)]


def test_the_kept_filter_follows_the_parameter():
    filters = HalfSpectrum((5, 6), 2).eval()

    def expected():
        return resize_filter(filters.weight, (5, 6), (8, 9))

    with torch.no_grad():
        filters((8, 9))
        filters.weight.mul_(2)
        torch.testing.assert_close(filters((8, 9)), expected())
        filters.load_state_dict(HalfSpectrum((5, 6), 2).state_dict())
        torch.testing.assert_close(filters((8, 9)), expected())
        # As mmengine's EMA hook swaps, unseen by any version counter.
        filters.weight.data.mul_(3)
        filters.eval()
        torch.testing.assert_close(filters((8, 9)), expected())
        filters.double()
        assert filters((8, 9)).dtype == torch.float64


def test_gradients_reach_the_stored_filter_every_step():
    filters = HalfSpectrum((5, 6), 2)
    with torch.no_grad():
        filters((8, 9))
    for _ in range(2):
        filters.weight.grad = None
        filters((8, 9)).square().sum().backward()
        assert filters.weight.grad.abs().sum() > 0


def test_inference_mode_does_not_poison_training():
    filters = HalfSpectrum((5, 6), 2)
    filters.weight.requires_grad_(False)
    with torch.inference_mode():
        filters((8, 9))
    x = torch.randn(1, requires_grad=True)
    (filters((8, 9)) * x).sum().backward()
    assert x.grad is not None


def test_a_half_spectrum_knows_an_odd_width():
    wide, narrow = HalfSpectrum((4, 15), 2, 'kernel'), HalfSpectrum((4, 14), 2)
    assert wide.weight.shape == narrow.weight.shape
    target = HalfSpectrum((6, 21), 2, 'kernel')
    target.load_state_dict(wide.state_dict())
    torch.testing.assert_close(
        target.weight.detach(),
        resize_filter(wide.weight.detach(), (4, 15), (6, 21), 'kernel'),
    )
    assert target.grid.tolist() == [6, 21]


def test_a_checkpoint_without_grid_is_taken_as_square():
    target = HalfSpectrum((25, 38), 2, 'kernel')
    weight = torch.randn(14, 8, 2, 2)
    target.load_state_dict({'weight': weight})
    torch.testing.assert_close(
        target.weight.detach(),
        resize_filter(weight, (14, 14), (25, 38), 'kernel'),
    )


def test_another_number_of_filters_does_not_load():
    with pytest.raises(RuntimeError, match='size mismatch for weight'):
        HalfSpectrum((5, 6), 2).load_state_dict(
            HalfSpectrum((8, 9), 3).state_dict()
        )


def test_bad_arguments_are_named():
    with pytest.raises(ConfigError, match=r'grid .* \(0, 4\)'):
        HalfSpectrum((0, 4), 1)
    with pytest.raises(ConfigError, match="filter_resize .*'linear'"):
        HalfSpectrum((4, 4), 1, 'linear')


def same_as_resized(filters, grid=(8, 9)):
    expected = resize_filter(filters.weight, filters.size, grid)
    torch.testing.assert_close(filters(grid), expected)


def test_the_kept_filter_follows_the_memory():
    """Another tensor may get the address of one that is no more."""
    filters = HalfSpectrum((5, 6), 2).eval()
    with torch.no_grad():
        for _ in range(9):
            same_as_resized(filters)
            filters.weight.data = torch.empty(0)
            filters.weight.data = torch.randn(5, 4, 2, 2)
        # The same memory, read in another order.
        square = HalfSpectrum((4, 6), 2).eval()
        same_as_resized(square)
        square.weight.data = square.weight.data.transpose(0, 1)
        same_as_resized(square)


def test_parameters_that_count_no_writes():
    with torch.inference_mode():
        filters = HalfSpectrum((5, 6), 2).eval()
        for _ in range(2):
            same_as_resized(filters)
            filters.weight.mul_(2)


def test_what_one_mode_keeps_serves_the_others(resizes):
    filters = HalfSpectrum((5, 6), 2).eval()
    with torch.inference_mode():
        kept = filters((8, 9))
    with torch.no_grad():
        assert filters((8, 9)) is kept
    assert len(resizes) == 1
    scale = torch.ones((), requires_grad=True)
    (kept * scale).sum().backward()
    torch.testing.assert_close(scale.grad, kept.sum())


class OnGpu(torch.Tensor):
    is_cuda = True


def test_streams_and_graphs_of_a_gpu(resizes, monkeypatch):
    """What one stream has not finished is not given to another one."""
    stream, capturing = SimpleNamespace(cuda_stream=1), []
    monkeypatch.setattr(torch.cuda, 'current_stream', lambda device: stream)
    monkeypatch.setattr(
        torch.cuda, 'is_current_stream_capturing', lambda: bool(capturing)
    )
    filters = HalfSpectrum((5, 6), 2).eval()
    weight = filters.weight.detach().as_subclass(OnGpu)
    filters.weight = torch.nn.Parameter(weight)
    with torch.no_grad():
        kept = filters((8, 9))
        assert filters((8, 9)) is kept
        stream.cuda_stream = 2
        others = filters((8, 9))
        assert others is not kept and len(resizes) == 2
        capturing.append(True)
        assert filters((8, 9)) is not others
        capturing.clear()
        assert filters((8, 9)) is others and len(resizes) == 3


def test_a_traced_filter_is_of_one_grid():
    """Also of one whose half spectrum is that of another."""
    filters = GlobalFilter(2, (4, 6))
    with torch.no_grad():
        filters(torch.randn(1, 5, 7, 2))
        traced = torch.jit.trace(filters, torch.randn(1, 5, 7, 2))
        x = torch.randn(3, 5, 7, 2)
        torch.testing.assert_close(traced(x), filters(x))
        with pytest.raises(torch.jit.Error, match='is 6, but it was 7 when'):
            traced(torch.randn(1, 5, 6, 2))
        # It reads the weight, nothing that was kept when it was traced.
        filters.filter.weight.mul_(2)
        torch.testing.assert_close(traced(x), filters(x))
