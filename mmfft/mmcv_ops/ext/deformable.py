# Copyright (c) mmfft authors. All rights reserved.
"""Deformable convolution with torchvision, deformable attention in PyTorch.

The arguments are those of mmcv. ``columns`` and ``ones`` are its workspace and
``im2col_step`` is the number of images that it processes at a time: nothing
here uses them.
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
        offset (Tensor): Shifts of the taps, each first downwards, then to the
            right, of shape ``(B, 2 * deformable_group * kH * kW, H', W')``.
        output (Tensor): Receives the result, of shape ``(B, O, H', W')``.
        columns (Tensor): Not used.
        ones (Tensor): Not used.
        kW (int): Width of the kernels.
        kH (int): Height of the kernels.
        dW (int): Horizontal stride.
        dH (int): Vertical stride.
        padW (int): Zero padding on the left and on the right.
        padH (int): Zero padding at the top and at the bottom.
        dilationW (int): Horizontal distance of the taps.
        dilationH (int): Vertical distance of the taps.
        group (int): Number of groups of channels of the kernels.
        deformable_group (int): Number of groups of channels, each with shifts
            of its own.
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
    """Gradients of :func:`deform_conv_forward` for feature map and shifts.

    Args:
        input (Tensor): As in the forward pass.
        offset (Tensor): As in the forward pass.
        gradOutput (Tensor): Gradient of the result.
        gradInput (Tensor): Receives the gradient of the feature map.
        gradOffset (Tensor): Receives the gradient of the shifts.
        weight (Tensor): As in the forward pass.
        columns (Tensor): Not used.
        kW (int): As in the forward pass.
        kH (int): As in the forward pass.
        dW (int): As in the forward pass.
        dH (int): As in the forward pass.
        padW (int): As in the forward pass.
        padH (int): As in the forward pass.
        dilationW (int): As in the forward pass.
        dilationH (int): As in the forward pass.
        group (int): As in the forward pass.
        deformable_group (int): As in the forward pass.
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
    """Gradient of :func:`deform_conv_forward` for the kernels.

    Args:
        input (Tensor): As in the forward pass.
        offset (Tensor): As in the forward pass.
        gradOutput (Tensor): Gradient of the result.
        gradWeight (Tensor): Tensor to which the gradient of the kernels is
            added.
        columns (Tensor): Not used.
        ones (Tensor): Not used.
        kW (int): As in the forward pass.
        kH (int): As in the forward pass.
        dW (int): As in the forward pass.
        dH (int): As in the forward pass.
        padW (int): As in the forward pass.
        padH (int): As in the forward pass.
        dilationW (int): As in the forward pass.
        dilationH (int): As in the forward pass.
        group (int): As in the forward pass.
        deformable_group (int): As in the forward pass.
        scale (float): Factor of the gradient that is added.
        im2col_step (int): Not used.
    """
    grads = _deform_conv_gradients(
        gradOutput,
        input,
        # This gradient does not depend on the values of the kernels.
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
    """Deformable convolution in which each tap has a weight of its own.

    `Deformable ConvNets v2 <https://arxiv.org/abs/1811.11168>`_.

    Args:
        input (Tensor): Feature map, of shape ``(B, C, H, W)``.
        weight (Tensor): Kernels, of shape ``(O, C / group, kH, kW)``.
        bias (Tensor): Bias that is added to the result, of shape ``(O,)``.
        ones (Tensor): Not used.
        offset (Tensor): Shifts, as in :func:`deform_conv_forward`.
        mask (Tensor): Weights of the taps, of shape
            ``(B, deformable_group * kH * kW, H', W')``.
        output (Tensor): Receives the result, of shape ``(B, O, H', W')``.
        columns (Tensor): Not used.
        kernel_h (int): Height of the kernels.
        kernel_w (int): Width of the kernels.
        stride_h (int): Vertical stride.
        stride_w (int): Horizontal stride.
        pad_h (int): Zero padding at the top and at the bottom.
        pad_w (int): Zero padding on the left and on the right.
        dilation_h (int): Vertical distance of the taps.
        dilation_w (int): Horizontal distance of the taps.
        group (int): Number of groups of channels of the kernels.
        deformable_group (int): Number of groups of channels, each with shifts
            of its own.
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
    """Gradients of :func:`modulated_deform_conv_forward`.

    Args:
        input (Tensor): As in the forward pass.
        weight (Tensor): As in the forward pass.
        bias (Tensor): As in the forward pass.
        ones (Tensor): Not used.
        offset (Tensor): As in the forward pass.
        mask (Tensor): As in the forward pass.
        columns (Tensor): Not used.
        grad_input (Tensor): Receives the gradient of the feature map.
        grad_weight (Tensor): Receives the gradient of the kernels.
        grad_bias (Tensor): Receives the gradient of the bias.
        grad_offset (Tensor): Receives the gradient of the shifts.
        grad_mask (Tensor): Receives the gradient of the weights of the taps.
        grad_output (Tensor): Gradient of the result.
        kernel_h (int): As in the forward pass.
        kernel_w (int): As in the forward pass.
        stride_h (int): As in the forward pass.
        stride_w (int): As in the forward pass.
        pad_h (int): As in the forward pass.
        pad_w (int): As in the forward pass.
        dilation_h (int): As in the forward pass.
        dilation_w (int): As in the forward pass.
        group (int): As in the forward pass.
        deformable_group (int): As in the forward pass.
        with_bias (bool): As in the forward pass.
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
    """Gradients for map, kernels, shifts, weights of taps and bias."""
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
    """Attention to a few points in feature maps of several sizes.

    `Deformable DETR <https://arxiv.org/abs/2010.04159>`_, equation 3.

    Args:
        value (Tensor): Positions of all maps, one map after the other, of
            shape ``(B, keys, heads, C)``.
        value_spatial_shapes (Tensor): Height and width of each map, of shape
            ``(levels, 2)``.
        value_level_start_index (Tensor): Not used: it follows from the sizes.
        sampling_locations (Tensor): Points to sample, as distances from the
            left and from the top in ``[0, 1]``, of shape
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
    """Gradients of :func:`ms_deform_attn_forward`.

    Args:
        value (Tensor): As in the forward pass.
        value_spatial_shapes (Tensor): As in the forward pass.
        value_level_start_index (Tensor): Not used.
        sampling_locations (Tensor): As in the forward pass.
        attention_weights (Tensor): As in the forward pass.
        grad_output (Tensor): Gradient of the weighted sums.
        grad_value (Tensor): Receives the gradient of the maps.
        grad_sampling_loc (Tensor): Receives the gradient of the points.
        grad_attn_weight (Tensor): Receives the gradient of the weights.
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
