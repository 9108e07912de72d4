# Copyright (c) mmfft authors. All rights reserved.
"""Closed forms of the FLOPs of backbones and classifiers."""

from math import log2

from mmfft.backbones import CDFFormer, DFFormer, GFFormer, GFNet, GFNetPyramid

LAYER_NORM = 5  # operations per value, as mmengine estimates


def spectral(grid, channels, num_filters):
    rows, columns = grid
    points = rows * columns
    there_and_back = 2 * 2.5 * points * log2(points)
    entries = rows * (columns // 2 + 1)
    return channels * (there_and_back + entries * (4 + 2 * num_filters))


def dynamic(grid, dim, num_filters, ratio):
    tokens = grid[0] * grid[1]
    hidden, routing = 2 * dim, int(ratio * dim)
    return (
        2 * tokens * dim * hidden
        + dim * routing
        + routing * num_filters * hidden
        + spectral(grid, hidden, num_filters)
    )


def static(grid, dim, num_filters, ratio):
    tokens = grid[0] * grid[1]
    return 4 * tokens * dim * dim + spectral(grid, 2 * dim, 0)


def convolution(grid, dim, num_filters, ratio):
    tokens = grid[0] * grid[1]
    return tokens * (4 * dim * dim + 2 * dim * 7**2)


MIXERS = {
    DFFormer: [dynamic] * 4,
    CDFFormer: [convolution] * 2 + [dynamic] * 2,
    GFFormer: [static] * 4,
}


def metaformer(model, grid):
    flops, before = 0, 3
    for i, (dim, depth, mixer) in enumerate(
        zip(
            model.arch['embed_dims'], model.arch['depths'], MIXERS[type(model)]
        )
    ):
        if i == 0:
            grid = tuple((n - 3) // 4 + 1 for n in grid)
            kernel, normed = 7, grid[0] * grid[1] * dim
        else:
            normed = grid[0] * grid[1] * before
            grid = tuple((n + 1) // 2 for n in grid)
            kernel = 3
        tokens = grid[0] * grid[1]
        flops += tokens * before * dim * kernel**2 + LAYER_NORM * normed
        flops += depth * (
            mixer(grid, dim, model.num_filters, model.reweight_ratio)
            + 8 * tokens * dim * dim
            + 2 * LAYER_NORM * tokens * dim
        )
        before = dim
    return flops, tokens * dim


def gfnet_block(grid, dim):
    tokens = grid[0] * grid[1]
    return (
        spectral(grid, dim, 0)
        + 8 * tokens * dim * dim
        + 2 * LAYER_NORM * tokens * dim
    )


def gfnet(model, size):
    grid = tuple(n // 16 for n in size)
    dim, tokens = model.arch['embed_dim'], grid[0] * grid[1]
    flops = tokens * 3 * 16**2 * dim
    return flops + model.arch['depth'] * gfnet_block(grid, dim), tokens * dim


def gfnet_pyramid(model, grid):
    flops, before, patch = 0, 3, 4
    for dim, depth in zip(model.arch['embed_dims'], model.arch['depths']):
        grid = tuple(n // patch for n in grid)
        tokens = grid[0] * grid[1]
        flops += tokens * before * patch**2 * dim
        flops += depth * gfnet_block(grid, dim)
        before, patch = dim, 2
    return flops, tokens * dim


def backbone_flops(model, size, out_norm=True):
    """FLOPs of a backbone that returns its last level, and its numel."""
    formula = {GFNet: gfnet, GFNetPyramid: gfnet_pyramid}
    flops, values = formula.get(type(model), metaformer)(model, size)
    return flops + LAYER_NORM * values * out_norm, values


def classifier_flops(cfg, backbone):
    """FLOPs of a config for image classification."""
    is_gfnet = isinstance(backbone, (GFNet, GFNetPyramid))
    flops, values = backbone_flops(backbone, backbone.img_size, is_gfnet)
    classes, dim = cfg.head.num_classes, cfg.head.in_channels
    pooling = values
    if is_gfnet:
        return flops + pooling + dim * classes
    hidden = 4 * dim
    norms = LAYER_NORM * (dim + hidden)
    return flops + pooling + norms + dim * hidden + hidden * classes
