# Copyright (c) mmfft authors. All rights reserved.
"""Focal losses, for which mmcv has kernels only for GPUs.

`Focal Loss for Dense Object Detection <https://arxiv.org/abs/1708.02002>`_,
equations 4 and 5. As in mmcv, arguments of logarithms are at least the
smallest normal float32. Half precision is computed in float32: float16 has no
such number, and no probability below 6e-8, which mixed precision meets.
"""

import torch
from torch import Tensor

_TINY = torch.finfo(torch.float32).tiny


def sigmoid_focal_loss_forward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Sigmoid focal loss of each class of each row.

    Args:
        input (Tensor): Logits, of shape ``(N, C)``.
        target (Tensor): Class of each row, of shape ``(N,)``; a class outside
            of ``[0, C)`` is the background.
        weight (Tensor): Weight of each class, of shape ``(C,)`` or ``(0,)``.
        output (Tensor): Receives the losses, of shape ``(N, C)``.
        gamma (float): Exponent that reduces the loss of easy examples.
        alpha (float): Weight of the target class; all others have the weight
            ``1 - alpha``.
    """
    _, share, right, wrong = _of_classes(input, target, weight, alpha)
    log = right.clamp(min=_TINY).log()
    output.copy_(-share * wrong.pow(gamma) * log)


def sigmoid_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Derivative of each loss with respect to its own logit.

    Args:
        input (Tensor): As in the forward pass.
        target (Tensor): As in the forward pass.
        weight (Tensor): As in the forward pass.
        grad_input (Tensor): Receives the derivatives, of shape ``(N, C)``.
        gamma (float): As in the forward pass.
        alpha (float): As in the forward pass.
    """
    sign, share, right, wrong = _of_classes(input, target, weight, alpha)
    log = right.clamp(min=_TINY).log()
    by_logit = wrong - gamma * right * log
    grad_input.copy_(-sign * share * wrong.pow(gamma) * by_logit)


def _of_classes(input, target, weight, alpha):
    """Sign and factor of each logit, and probabilities of right and wrong."""
    input = _in_float32(input)
    classes = torch.arange(input.size(1), device=input.device)
    is_class = target[:, None] == classes
    sign = torch.where(is_class, 1, -1).to(input.dtype)
    share = torch.where(is_class, alpha, 1 - alpha).to(input.dtype)
    if weight.numel():
        share = share * _weight_of_rows(weight, target)[:, None]
    return sign, share, (sign * input).sigmoid(), (-sign * input).sigmoid()


def softmax_focal_loss_forward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    output: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Softmax focal loss of each row.

    Args:
        input (Tensor): Probabilities, of shape ``(N, C)``.
        target (Tensor): Class of each row, of shape ``(N,)``; the loss of a
            negative class is 0.
        weight (Tensor): Weight of each class, of shape ``(C,)`` or ``(0,)``.
        output (Tensor): Receives the losses, of shape ``(N,)``.
        gamma (float): Exponent that reduces the loss of easy examples.
        alpha (float): Factor of the whole loss.
    """
    share, right = _of_targets(input, target, weight, alpha)
    loss = -share * (1 - right).pow(gamma) * right.clamp(min=_TINY).log()
    output.copy_(loss)


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    gamma: float,
    alpha: float,
) -> None:
    """Derivative of each loss with respect to the logits of its row.

    Args:
        input (Tensor): Probabilities, as in the forward pass.
        target (Tensor): As in the forward pass.
        weight (Tensor): As in the forward pass.
        buff (Tensor): Receives the derivative with respect to the logarithm of
            the target's probability, of shape ``(N,)``.
        grad_input (Tensor): Receives the derivatives, of shape ``(N, C)``.
        gamma (float): As in the forward pass.
        alpha (float): As in the forward pass.
    """
    share, right = _of_targets(input, target, weight, alpha)
    wrong, log = 1 - right, right.clamp(min=_TINY).log()
    by_log = gamma * wrong.pow(gamma - 1) * right * log - wrong.pow(gamma)
    by_target = share * by_log
    buff.copy_(by_target)
    classes = torch.arange(input.size(1), device=input.device)
    is_class = (target[:, None] == classes).to(right.dtype)
    grad_input.copy_(by_target[:, None] * (is_class - input))


def _of_targets(input, target, weight, alpha):
    """Factor of each row, and probability of its target."""
    right = _in_float32(input.gather(1, target.clamp(min=0)[:, None])[:, 0])
    share = alpha * (target >= 0).to(right.dtype)
    if weight.numel():
        share = share * _weight_of_rows(weight, target)
    return share, right


def _in_float32(tensor):
    """The tensor in float32 at least."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _weight_of_rows(weight, target):
    """The weight of each row's class, 1 for the background."""
    known = (target >= 0) & (target < len(weight))
    return torch.where(
        known, weight[target * known], torch.ones_like(weight[:1])
    )
