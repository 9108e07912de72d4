# Copyright (c) mmfft authors. All rights reserved.
"""Deformable convolution by torchvision's, deformable attention by PyTorch's.

The arguments are mmcv's. ``columns`` and ``ones`` are its work space and
``im2col_step`` is how many images it takes at a time: nothing here uses them.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """Deformable convolution.

    `Deformable Convolutional Networks <https://arxiv.org/abs/1703.06211>`_.

    Args:
        input (Tensor): Feature map, of shape ``(B, C, H, W)``.
        weight (Tensor): Kernels, of shape ``(O, C / group, kH, kW)``.
        offset (Tensor): Shifts of the taps, first down, then right, of shape
            ``(B, 2 * deformable_group * kH * kW, H', W')``.
        output (Tensor): Takes the result, of shape ``(B, O, H', W')``.
        columns (Tensor): Not used.
        ones (Tensor): Not used.
        kW (int): Width of the kernels.
        kH (int): Height of the kernels.
        dW (int): Stride to the right.
        dH (int): Stride downwards.
        padW (int): Zeros on the left and on the right.
        padH (int): Zeros above and below.
        dilationW (int): Distance of taps to the right.
        dilationH (int): Distance of taps downwards.
        group (int): Groups of channels that the kernels see.
        deformable_group (int): Groups of channels that shift together.
        im2col_step (int): Not used.
    """
    output.copy_(
        torchvision.ops.deform_conv2d(
            input,
            offset,
            weight,
            stride=(dH, dW),
            padding=(padH, padW),
            dilation=(dilationH, dilationW),
        )
    )


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradInput: Tensor,
    gradOffset: Tensor,
    weight: Tensor,
    columns: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    im2col_step: int,
) -> None:
    """The gradients of :func:`deform_conv_forward` for map and shifts.

    Args:
        input (Tensor): As forward.
        offset (Tensor): As forward.
        gradOutput (Tensor): Gradient of the result.
        gradInput (Tensor): Takes the gradient of the feature map.
        gradOffset (Tensor): Takes the gradient of the shifts.
        weight (Tensor): As forward.
        columns (Tensor): Not used.
        kW (int): As forward.
        kH (int): As forward.
        dW (int): As forward.
        dH (int): As forward.
        padW (int): As forward.
        padH (int): As forward.
        dilationW (int): As forward.
        dilationH (int): As forward.
        group (int): As forward.
        deformable_group (int): As forward.
        im2col_step (int): Not used.
    """
    grads = _deform_conv_gradients(
        gradOutput,
        input,
        weight,
        offset,
        None,
        (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group),
    )
    gradInput.copy_(grads[0])
    gradOffset.copy_(grads[2])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    gradOutput: Tensor,
    gradWeight: Tensor,
    columns: Tensor,
    ones: Tensor,
    kW: int,
    kH: int,
    dW: int,
    dH: int,
    padW: int,
    padH: int,
    dilationW: int,
    dilationH: int,
    group: int,
    deformable_group: int,
    scale: float,
    im2col_step: int,
) -> None:
    """The gradient of :func:`deform_conv_forward` for the kernels.

    Args:
        input (Tensor): As forward.
        offset (Tensor): As forward.
        gradOutput (Tensor): Gradient of the result.
        gradWeight (Tensor): The gradient of the kernels is added to it.
        columns (Tensor): Not used.
        ones (Tensor): Not used.
        kW (int): As forward.
        kH (int): As forward.
        dW (int): As forward.
        dH (int): As forward.
        padW (int): As forward.
        padH (int): As forward.
        dilationW (int): As forward.
        dilationH (int): As forward.
        group (int): As forward.
        deformable_group (int): As forward.
        scale (float): Factor of what is added.
        im2col_step (int): Not used.
    """
    grads = _deform_conv_gradients(
        gradOutput,
        input,
        # The values do not matter for this gradient.
        gradWeight,
        offset,
        None,
        (dH, dW, padH, padW, dilationH, dilationW, group, deformable_group),
    )
    gradWeight.add_(grads[1], alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """Deformable convolution whose taps have weights of their own.

    `Deformable ConvNets v2 <https://arxiv.org/abs/1811.11168>`_.

    Args:
        input (Tensor): Feature map, of shape ``(B, C, H, W)``.
        weight (Tensor): Kernels, of shape ``(O, C / group, kH, kW)``.
        bias (Tensor): Added to the result, of shape ``(O,)``.
        ones (Tensor): Not used.
        offset (Tensor): Shifts, as of :func:`deform_conv_forward`.
        mask (Tensor): Weights of the taps, of shape
            ``(B, deformable_group * kH * kW, H', W')``.
        output (Tensor): Takes the result, of shape ``(B, O, H', W')``.
        columns (Tensor): Not used.
        kernel_h (int): Height of the kernels.
        kernel_w (int): Width of the kernels.
        stride_h (int): Stride downwards.
        stride_w (int): Stride to the right.
        pad_h (int): Zeros above and below.
        pad_w (int): Zeros on the left and on the right.
        dilation_h (int): Distance of taps downwards.
        dilation_w (int): Distance of taps to the right.
        group (int): Groups of channels that the kernels see.
        deformable_group (int): Groups of channels that shift together.
        with_bias (bool): Whether to add ``bias``.
    """
    output.copy_(
        torchvision.ops.deform_conv2d(
            input,
            offset,
            weight,
            bias if with_bias else None,
            stride=(stride_h, stride_w),
            padding=(pad_h, pad_w),
            dilation=(dilation_h, dilation_w),
            mask=mask,
        )
    )


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    group: int,
    deformable_group: int,
    with_bias: bool,
) -> None:
    """The gradients of :func:`modulated_deform_conv_forward`.

    Args:
        input (Tensor): As forward.
        weight (Tensor): As forward.
        bias (Tensor): As forward.
        ones (Tensor): Not used.
        offset (Tensor): As forward.
        mask (Tensor): As forward.
        columns (Tensor): Not used.
        grad_input (Tensor): Takes the gradient of the feature map.
        grad_weight (Tensor): Takes the gradient of the kernels.
        grad_bias (Tensor): Takes the gradient of the bias.
        grad_offset (Tensor): Takes the gradient of the shifts.
        grad_mask (Tensor): Takes the gradient of the weights of the taps.
        grad_output (Tensor): Gradient of the result.
        kernel_h (int): As forward.
        kernel_w (int): As forward.
        stride_h (int): As forward.
        stride_w (int): As forward.
        pad_h (int): As forward.
        pad_w (int): As forward.
        dilation_h (int): As forward.
        dilation_w (int): As forward.
        group (int): As forward.
        deformable_group (int): As forward.
        with_bias (bool): As forward.
    """
    grads = _deform_conv_gradients(
        grad_output,
        input,
        weight,
        offset,
        mask,
        (
            *(stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w),
            *(group, deformable_group),
        ),
    )
    targets = [grad_input, grad_weight, grad_offset, grad_mask]
    if with_bias:
        targets.append(grad_bias)
    for target, grad in zip(targets, grads):
        target.copy_(grad)


def _deform_conv_gradients(
    grad_output: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    numbers: Sequence[int],
) -> tuple[Tensor, ...]:
    """The gradients for map, kernels, shifts, weights of taps and bias."""
    use_mask = mask is not None
    if not use_mask:
        mask = input.new_zeros((len(input), 1))
    return torch.ops.torchvision._deform_conv2d_backward(
        grad_output,
        input,
        weight,
        offset,
        mask,
        input.new_zeros(len(weight)),
        *numbers,
        use_mask,
    )


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """Attention to a few points of maps of several sizes.

    `Deformable DETR <https://arxiv.org/abs/2010.04159>`_, equation 3.

    Args:
        value (Tensor): The maps, one after the other, of shape
            ``(B, keys, heads, C)``.
        value_spatial_shapes (Tensor): Height and width of each map, of shape
            ``(levels, 2)``.
        value_level_start_index (Tensor): Not used: it follows from the sizes.
        sampling_locations (Tensor): Where to look, from the left and from the
            top, in ``[0, 1]``, of shape
            ``(B, queries, heads, levels, points, 2)``.
        attention_weights (Tensor): Weights of the points, of shape
            ``(B, queries, heads, levels, points)``.
        im2col_step (int): Not used.

    Returns:
        Tensor: Weighted sums, of shape ``(B, queries, heads * C)``.
    """
    return _attend(
        value, value_spatial_shapes, sampling_locations, attention_weights
    )


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """The gradients of :func:`ms_deform_attn_forward`.

    Args:
        value (Tensor): As forward.
        value_spatial_shapes (Tensor): As forward.
        value_level_start_index (Tensor): Not used.
        sampling_locations (Tensor): As forward.
        attention_weights (Tensor): As forward.
        grad_output (Tensor): Gradient of the sums.
        grad_value (Tensor): Takes the gradient of the maps.
        grad_sampling_loc (Tensor): Takes the gradient of the places.
        grad_attn_weight (Tensor): Takes the gradient of the weights.
        im2col_step (int): Not used.
    """
    with torch.enable_grad():
        inputs = [
            tensor.detach().requires_grad_()
            for tensor in (value, sampling_locations, attention_weights)
        ]
        output = _attend(inputs[0], value_spatial_shapes, *inputs[1:])
    grads = torch.autograd.grad(output, inputs, grad_output)
    for target, grad in zip(
        (grad_value, grad_sampling_loc, grad_attn_weight), grads
    ):
        target.copy_(grad)


def _attend(value, shapes, locations, weights):
    batch, _, heads, channels = value.shape
    queries, points = locations.size(1), locations.size(4)
    sizes = shapes.tolist()
    maps = value.split([height * width for height, width in sizes], dim=1)
    total = 0
    for level, (map_, size) in enumerate(zip(maps, sizes)):
        # (batch * heads, channels, height, width)
        map_ = map_.permute(0, 2, 3, 1).reshape(-1, channels, *size)
        # (batch * heads, queries, points, 2), from -1 to 1
        grid = 2 * locations[:, :, :, level].transpose(1, 2).flatten(0, 1) - 1
        seen = F.grid_sample(map_, grid, align_corners=False)
        weight = weights[:, :, :, level].transpose(1, 2)
        weight = weight.reshape(batch * heads, 1, queries, points)
        total = total + (seen * weight).sum(-1)
    return total.view(batch, heads * channels, queries).transpose(1, 2)
