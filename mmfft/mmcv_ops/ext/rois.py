# Copyright (c) mmfft authors. All rights reserved.
"""RoIAlign with torchvision."""

import torch
import torchvision  # noqa: F401  registers the ops
from torch import Tensor


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Average a feature map over the bins of regions.

    Args:
        input (Tensor): Feature map, of shape ``(B, C, H, W)``.
        rois (Tensor): Index of the image and corners of each region, of shape
            ``(N, 5)``.
        output (Tensor): Receives the averages, of shape
            ``(N, C, aligned_height, aligned_width)``.
        argmax_y (Tensor): Not used, except by mmcv for the maximum.
        argmax_x (Tensor): Not used, except by mmcv for the maximum.
        aligned_height (int): Number of bins of a region from top to bottom.
        aligned_width (int): Number of bins of a region from left to right.
        spatial_scale (float): Pixels of the map per unit of the corners.
        sampling_ratio (int): Number of points of a bin in each direction; 0
            for as many as the bin has pixels.
        pool_mode (int): 1 for the average, the only mode that is supported.
        aligned (bool): Whether the centres of pixels are at half-integers.

    Raises:
        NotImplementedError: If ``pool_mode`` asks for the maximum.
    """
    _require_average(pool_mode)
    # Not torchvision.ops.roi_align: in PyTorch's deterministic mode that uses
    # Python code, which differs where a region extends beyond the map.
    input = _known(input)
    output.copy_(
        torch.ops.torchvision.roi_align(
            input,
            rois.to(input.dtype),
            spatial_scale,
            aligned_height,
            aligned_width,
            sampling_ratio,
            aligned,
        )
    )


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Gradient of :func:`roi_align_forward` for the feature map.

    Args:
        grad_output (Tensor): Gradient of the averages.
        rois (Tensor): As in the forward pass.
        argmax_y (Tensor): Not used.
        argmax_x (Tensor): Not used.
        grad_input (Tensor): Receives the gradient of the feature map.
        aligned_height (int): As in the forward pass.
        aligned_width (int): As in the forward pass.
        spatial_scale (float): As in the forward pass.
        sampling_ratio (int): As in the forward pass.
        pool_mode (int): As in the forward pass.
        aligned (bool): As in the forward pass.

    Raises:
        NotImplementedError: If ``pool_mode`` asks for the maximum.
    """
    _require_average(pool_mode)
    grad_output = _known(grad_output)
    rois = rois.to(grad_output.dtype)
    if grad_output.is_cuda and torch.are_deterministic_algorithms_enabled():
        gradient = _gradient_in_order
    else:
        gradient = torch.ops.torchvision._roi_align_backward
    grad_input.copy_(
        gradient(
            grad_output,
            rois,
            spatial_scale,
            aligned_height,
            aligned_width,
            *grad_input.shape,
            sampling_ratio,
            aligned,
        )
    )


def _gradient_in_order(
    grad_output: Tensor,
    rois: Tensor,
    spatial_scale: float,
    aligned_height: int,
    aligned_width: int,
    batch: int,
    channels: int,
    height: int,
    width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """Compute the gradient by matrix products, which are deterministic.

    torchvision's kernel for GPUs adds in arbitrary order, and raises an error
    in PyTorch's deterministic mode. Averaging over a bin means averaging over
    its rows and over its columns, so the forward pass is
    ``rows @ map @ columns.T``.
    """
    corners = rois[:, 1:] * spatial_scale - 0.5 * aligned
    left, top, right, bottom = corners.unbind(1)
    options = (sampling_ratio, aligned)
    rows = _bin_weights(top, bottom, aligned_height, height, *options)
    columns = _bin_weights(left, right, aligned_width, width, *options)
    grads = grad_output.new_zeros((batch, channels, height, width))
    for image in range(batch):
        own = rois[:, 0] == image
        grads[image] = torch.einsum(
            'nph,ncpq,nqw->chw', rows[own], grad_output[own], columns[own]
        )
    return grads


def _bin_weights(begin, end, bins, size, sampling_ratio, aligned):
    """Weight of each pixel in each bin, of shape ``(N, bins, size)``."""
    extent = end - begin if aligned else (end - begin).clamp(min=1)
    step = (extent / bins)[:, None, None]
    if sampling_ratio > 0:
        count = torch.full_like(step, sampling_ratio)
    else:
        count = step.ceil()
    point = torch.arange(int(count.max()) if len(count) else 0).to(step)
    place = torch.arange(bins).to(step)[:, None] * step
    shared = count.clamp(min=1)
    place = begin[:, None, None] + place + (point + 0.5) * step / shared
    inside = (point < count) & (place >= -1) & (place <= size)
    # The nearer a pixel, the larger its weight: linear interpolation.
    distance = place.clamp(0, size - 1)[..., None] - torch.arange(size).to(
        step
    )
    weight = (1 - distance.abs()).clamp(min=0) * inside[..., None]
    return weight.sum(2) / shared


def _known(tensor: Tensor) -> Tensor:
    # torchvision has no kernel for bfloat16.
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor


def _require_average(pool_mode: int) -> None:
    if pool_mode != 1:
        raise NotImplementedError(
            "RoIAlign with pool_mode='max' is not among the light ops, which "
            "need no compiler: set pool_mode='avg', or compile mmcv's own "
            'with `make install OPS=compiled` or `python -m mmfft.mmcv_ops '
            'compile`'
        )
