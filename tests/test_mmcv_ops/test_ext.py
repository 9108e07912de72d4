# Copyright (c) mmfft authors. All rights reserved.
"""The ops of mmcv, light or compiled, whichever this environment has."""

import importlib
import inspect
import re
import subprocess
import sys

import mmcv_ops_cases as cases
import numpy as np
import pytest
import torch
from mmcv.ops import (
    deform_conv2d,
    modulated_deform_conv2d,
    roi_align,
    sigmoid_focal_loss,
    softmax_focal_loss,
)
from mmcv.ops.multi_scale_deform_attn import (
    MultiScaleDeformableAttnFunction,
    multi_scale_deformable_attn_pytorch,
)
from torch.autograd import gradcheck

from mmfft import mmcv_ops
from mmfft.mmcv_ops import ext as light

KIND = mmcv_ops.describe().partition(' ')[0]
# Of compiled mmcv they run on GPUs only.
only_light = pytest.mark.skipif(
    KIND == 'compiled', reason='compiled mmcv has these for GPUs only'
)


@pytest.mark.parametrize('case', cases.CASES)
def test_answers_are_those_of_compiled_ops(case):
    record = np.load(cases.RECORD)
    answers = cases.answers(case)
    names = [n for n in record if n.startswith(f'{case.__name__}_')]
    assert len(names) == len(answers)
    for i, answer in enumerate(answers):
        expected = record[f'{case.__name__}_{i}']
        assert answer.dtype == expected.dtype
        if case in (cases.overlaps, cases.rois) or answer.dtype == np.int64:
            # Bit for bit; a NaN is where a box of no area was divided by.
            np.testing.assert_array_equal(answer, expected)
        else:
            np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5)


def test_arguments_are_those_of_pybind():
    binding = mmcv_ops.mmcv_folder() / 'ops' / 'csrc/pytorch/pybind.cpp'
    definitions = re.findall(
        r'm\.def\(\s*"(\w+)",(.*?)\);', binding.read_text(), re.DOTALL
    )
    theirs = {
        name: re.findall(r'py::arg\("(\w+)"\)', rest)
        for name, rest in definitions
    }
    assert len(theirs) > 100
    ours = [name for name in light.__all__ if name in theirs]
    assert set(ours) == set(light.__all__)
    for name in ours:
        parameters = inspect.signature(getattr(light, name)).parameters
        assert list(parameters) == theirs[name], name


def test_a_missing_op_is_an_error_when_called():
    assert hasattr(light, 'carafe_forward')
    with pytest.raises(
        NotImplementedError, match='carafe_forward .*OPS=compiled'
    ):
        light.carafe_forward(1, two=2)
    assert not hasattr(light, '__wrapped__')


@only_light
def test_mmcv_names_the_op_that_is_missing():
    from mmcv.ops import RoIPool

    maps, regions = torch.ones(1, 1, 4, 4), torch.tensor([[0, 0, 0, 2, 2.0]])
    with pytest.raises(NotImplementedError, match='roi_pool_forward'):
        RoIPool(2)(maps, regions)
    with pytest.raises(NotImplementedError, match="pool_mode='max'"):
        roi_align(maps, regions, 2, 1.0, 0, 'max')


def test_empty_input():
    from mmcv.ops import nms, soft_nms

    none, scores = torch.empty(0, 4), torch.empty(0)
    for function in (nms, soft_nms):
        dets, inds = function(none, scores, 0.5)
        assert dets.shape == (0, 5) and inds.dtype == torch.long
    maps = torch.ones(1, 2, 4, 4, requires_grad=True)
    output = roi_align(maps, torch.empty(0, 5), 2)
    output.sum().backward()
    assert output.shape == (0, 2, 2, 2) and not maps.grad.any()


@pytest.mark.parametrize('most', [1, 150, 1000])
def test_many_boxes_are_taken_in_parts(monkeypatch, most):
    """Overlaps of a row or a few at a time, as of thousands of boxes."""
    draw = np.random.RandomState(0)
    boxes, scores = cases.make_boxes(draw, 70), cases.make_scores(draw, 70)
    dets = torch.cat([boxes, scores[:, None]], 1)

    def answers():
        for offset in (0, 1):
            yield light.nms(boxes, scores, 0.4, offset)
            for method in range(3):
                soft = torch.zeros(70, 5)
                args = (0.4, 0.5, 0.05, method, offset)
                yield light.softnms(boxes, scores, soft, *args)
                yield soft
        yield from map(torch.tensor, light.nms_match(dets, 0.4))

    expected = list(answers())
    monkeypatch.setattr(light.boxes, '_MOST_OVERLAPS', most)
    found = list(answers())
    assert len(found) == len(expected) > 20
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_soft_nms_of_boxes_without_area():
    """Their overlap is 0 / 0; such scores are never the largest."""
    boxes = torch.tensor([[1.0, 1, 1, 1], [0, 0, 4, 4], [2, 2, 2, 2]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    dets = torch.zeros(3, 5)
    inds = light.softnms(boxes, scores, dets, 0.3, 0.5, 0.01, 2, 0)
    assert inds.tolist() == [0, 1, 2]
    assert dets[1, 4] == scores[1] and dets[2, 4].isnan()


# ------------------------------------------------------------------ gradients


@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('ratio', [0, 2])
def test_gradient_of_roi_align(ratio, aligned):
    torch.manual_seed(0)
    maps = torch.randn(2, 2, 5, 6, dtype=torch.double, requires_grad=True)
    regions = torch.tensor(
        [[0, 1.2, 0.3, 4.1, 3.9], [1, -1, 2, 7, 9]], dtype=torch.double
    )
    assert gradcheck(
        lambda x: roi_align(x, regions, (2, 3), 0.9, ratio, 'avg', aligned),
        [maps],
    )


@only_light
def test_roi_align_in_bfloat16():
    """As mixed precision needs it, of which torchvision lacks one half."""
    draw = np.random.RandomState(0)
    maps = cases.as_float(draw, 2, 3, 5, 6).bfloat16().requires_grad_()
    images = torch.from_numpy(draw.randint(0, 2, (6, 1)))
    regions = torch.cat([images, cases.make_boxes(draw, 6)], 1)
    results = []
    for autocast in (False, True):
        with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
            output = roi_align(maps, regions, 2, 0.1)
        results += [output, *torch.autograd.grad(output.sum(), maps)]
    exact = maps.float()
    output = roi_align(exact, regions, 2, 0.1)
    expected = [output, *torch.autograd.grad(output.sum(), exact)]
    for found, value in zip(results, expected * 2, strict=True):
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.float(), value, rtol=8e-3, atol=0)


@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('ratio', range(4))
def test_deterministic_gradient_of_roi_align(ratio, aligned):
    """The way of GPUs in this mode; some regions leave the map."""
    draw = np.random.RandomState(0)
    boxes = cases.make_boxes(draw, 20) - 10
    boxes[3, 2:] = boxes[3, :2]
    images = torch.from_numpy(draw.randint(0, 3, (20, 1)))
    args = (
        cases.as_float(draw, 20, 2, 7, 5, dtype=torch.double),
        torch.cat([images, boxes], 1).double(),
        *(1 / 8, 7, 5, 3, 2, 19, 23, ratio, aligned),
    )
    torch.testing.assert_close(
        light.rois._gradient_in_order(*args),
        torch.ops.torchvision._roi_align_backward(*args),
    )


def test_gradients_of_deformable_convolutions():
    torch.manual_seed(0)
    maps = torch.randn(2, 4, 5, 6, dtype=torch.double)
    weight = torch.randn(4, 2, 3, 3, dtype=torch.double)
    offset = torch.randn(2, 36, 5, 6, dtype=torch.double)
    mask = torch.rand(2, 18, 5, 6, dtype=torch.double)
    bias = torch.randn(4, dtype=torch.double)
    settings = (1, 1, 1, 2, 2)
    for tensor in (maps, weight, offset, mask, bias):
        tensor.requires_grad_()
    assert gradcheck(
        lambda *inputs: deform_conv2d(*inputs, *settings),
        [maps, offset, weight],
        fast_mode=True,
    )
    assert gradcheck(
        lambda *inputs: modulated_deform_conv2d(*inputs, *settings),
        [maps, offset, mask, weight, bias],
        fast_mode=True,
    )
    without_bias = modulated_deform_conv2d(
        maps, offset, mask, weight, None, *settings
    )
    without_bias.sum().backward()
    expected = modulated_deform_conv2d(
        maps, offset, mask, weight, bias, *settings
    ) - bias.view(1, -1, 1, 1)
    torch.testing.assert_close(without_bias, expected)


def sigmoid_oracle(logits, target, gamma, alpha, weight):
    """Equation 5 of the paper, class by class, in float64."""
    probability = logits.double().sigmoid()
    loss = torch.zeros_like(probability)
    for n, c in np.ndindex(*logits.shape):
        p = probability[n, c]
        if target[n] == c:
            loss[n, c] = -alpha * (1 - p) ** gamma * p.log()
        else:
            loss[n, c] = -(1 - alpha) * p**gamma * (1 - p).log()
        if weight is not None and target[n] < logits.size(1):
            loss[n, c] *= weight[target[n]]
    return loss


def softmax_oracle(logits, target, gamma, alpha, weight):
    probability = logits.double().softmax(1)
    loss = torch.zeros(len(logits), dtype=torch.double)
    for n in range(len(logits)):
        p = probability[n, target[n]]
        loss[n] = -alpha * (1 - p) ** gamma * p.log()
        if weight is not None:
            loss[n] *= weight[target[n]]
    return loss


@only_light
@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('gamma, alpha', [(2.0, 0.25), (1.5, 0.6)])
@pytest.mark.parametrize(
    'function, oracle, classes',
    [
        (sigmoid_focal_loss, sigmoid_oracle, 5),
        (softmax_focal_loss, softmax_oracle, 4),
    ],
)
def test_focal_losses(function, oracle, classes, gamma, alpha, weighted):
    torch.manual_seed(0)
    logits = (3 * torch.randn(12, 4)).requires_grad_()
    # 4 is the background.
    target = torch.arange(12) % classes
    weight = torch.rand(4) if weighted else None
    for reduction in ('none', 'mean', 'sum'):
        loss = function(logits, target, gamma, alpha, weight, reduction)
        expected = oracle(logits, target, gamma, alpha, weight)
        if reduction != 'none':
            expected = expected.sum()
            expected = expected / (12 if reduction == 'mean' else 1)
        torch.testing.assert_close(loss, expected.float())
        if reduction == 'none':
            continue
        (grad,) = torch.autograd.grad(loss, logits)
        (expected,) = torch.autograd.grad(expected, logits)
        torch.testing.assert_close(grad, expected, rtol=1e-4, atol=1e-5)


@only_light
@pytest.mark.parametrize(
    'dtype', [torch.float32, torch.float16, torch.bfloat16]
)
@pytest.mark.parametrize('size', [20.0, 200.0])
def test_focal_losses_of_sure_logits_stay_finite(size, dtype):
    for function in (sigmoid_focal_loss, softmax_focal_loss):
        logits = torch.tensor([[size, -size]], dtype=dtype, requires_grad=True)
        loss = function(logits, torch.tensor([1]))
        loss.backward()
        assert loss.dtype == logits.grad.dtype == dtype
        assert loss.isfinite() and logits.grad.isfinite().all()
        if function is sigmoid_focal_loss:
            assert logits.grad[0, 1] < 0 < logits.grad[0, 0]


@only_light
def test_deformable_attention():
    torch.manual_seed(0)
    sizes = torch.tensor([[4, 5], [2, 3]])
    starts = torch.tensor([0, 20])
    value = torch.randn(2, 26, 2, 3, dtype=torch.double)
    places = torch.rand(2, 7, 2, 2, 4, 2, dtype=torch.double) * 1.2 - 0.1
    weights = torch.rand(2, 7, 2, 2, 4, dtype=torch.double)
    inputs = [tensor.requires_grad_() for tensor in (value, places, weights)]

    def attend(value, places, weights):
        return MultiScaleDeformableAttnFunction.apply(
            value, sizes, starts, places, weights, 64
        )

    expected = multi_scale_deformable_attn_pytorch(
        value, sizes, places, weights
    )
    torch.testing.assert_close(attend(*inputs), expected)
    assert gradcheck(attend, inputs, fast_mode=True)


def test_the_module_imports_without_mmfft(tmp_path):
    """Else mmcv, mmengine and mmfft would import one another in a circle."""
    code = (
        'import importlib.util, sys\n'
        'folder = sys.argv[1]\n'
        'spec = importlib.util.spec_from_file_location("stand_in", '
        'f"{folder}/__init__.py", submodule_search_locations=[folder])\n'
        'module = importlib.util.module_from_spec(spec)\n'
        'sys.modules["stand_in"] = module\n'
        'spec.loader.exec_module(module)\n'
        'assert module.nms\n'
        'assert not {"mmfft", "mmcv", "mmengine"} & set(sys.modules)\n'
    )
    folder = str(light.__path__[0])
    subprocess.run([sys.executable, '-c', code, folder], check=True)


def test_mmcv_reports_the_ops():
    assert importlib.import_module('mmcv._ext').get_compiler_version()
