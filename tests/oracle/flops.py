# Copyright (c) mmfft authors. All rights reserved.
"""Closed forms of the FLOPs of backbones and classifiers."""

from math import ceil, log2

import numpy as np

from mmfft.backbones import CDFFormer, DFFormer, GFFormer, GFNet, GFNetPyramid

# What work costs in a convention: linear layers and convolutions, values that
# are normalized and pooled, filters as we count them and as GFNet's authors
# do. Of a norm mmengine estimates five operations per value.
PRICES = {
    'mmfft': np.array([1, 5, 1, 1, 0]),
    'gfnet': np.array([1, 5, 1, 0, 1]),
    'linear': np.array([1, 0, 0, 0, 0]),
}


def work(linear=0, normed=0, pooled=0, ours=0, theirs=0):
    return np.array([linear, normed, pooled, ours, theirs], float)


def spectral(grid, channels, num_filters):
    rows, columns = grid
    points = rows * columns
    there_and_back = 2 * 2.5 * points * log2(points)
    entries = rows * (columns // 2 + 1)
    ours = there_and_back + entries * (4 + 2 * num_filters)
    theirs = sum(n * ceil(log2(n)) for n in (points, entries))
    return channels * work(ours=ours, theirs=theirs)


def dynamic(grid, dim, num_filters, ratio):
    tokens = grid[0] * grid[1]
    hidden, routing = 2 * dim, int(ratio * dim)
    linear = (
        2 * tokens * dim * hidden
        + dim * routing
        + routing * num_filters * hidden
    )
    return work(linear) + spectral(grid, hidden, num_filters)


def static(grid, dim, num_filters, ratio):
    tokens = grid[0] * grid[1]
    return work(4 * tokens * dim * dim) + spectral(grid, 2 * dim, 0)


def convolution(grid, dim, num_filters, ratio):
    tokens = grid[0] * grid[1]
    return work(tokens * (4 * dim * dim + 2 * dim * 7**2))


MIXERS = {
    DFFormer: [dynamic] * 4,
    CDFFormer: [convolution] * 2 + [dynamic] * 2,
    GFFormer: [static] * 4,
}


def metaformer(model, grid):
    flops, before = work(), 3
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
        flops += work(tokens * before * dim * kernel**2, normed)
        flops += depth * (
            mixer(grid, dim, model.num_filters, model.reweight_ratio)
            + work(8 * tokens * dim * dim, 2 * tokens * dim)
        )
        before = dim
    return flops, tokens * dim


def gfnet_block(grid, dim):
    tokens = grid[0] * grid[1]
    return spectral(grid, dim, 0) + work(
        8 * tokens * dim * dim, 2 * tokens * dim
    )


def gfnet(model, size):
    grid = tuple(n // 16 for n in size)
    dim, tokens = model.arch['embed_dim'], grid[0] * grid[1]
    flops = work(tokens * 3 * 16**2 * dim)
    return flops + model.arch['depth'] * gfnet_block(grid, dim), tokens * dim


def gfnet_pyramid(model, grid):
    flops, before, patch = work(), 3, 4
    for dim, depth in zip(model.arch['embed_dims'], model.arch['depths']):
        grid = tuple(n // patch for n in grid)
        tokens = grid[0] * grid[1]
        flops += work(tokens * before * patch**2 * dim)
        flops += depth * gfnet_block(grid, dim)
        before, patch = dim, 2
    return flops, tokens * dim


def backbone_work(model, size, out_norm=True):
    """Work of a backbone that returns its last level, and its numel."""
    formula = {GFNet: gfnet, GFNetPyramid: gfnet_pyramid}
    done, values = formula.get(type(model), metaformer)(model, size)
    return done + work(normed=values * out_norm), values


def backbone_flops(model, size, convention='mmfft'):
    """FLOPs of a backbone that returns its last level."""
    return PRICES[convention] @ backbone_work(model, size)[0]


def classifier_flops(cfg, backbone, convention='mmfft'):
    """FLOPs of a config for image classification."""
    is_gfnet = isinstance(backbone, (GFNet, GFNetPyramid))
    done, values = backbone_work(backbone, backbone.img_size, is_gfnet)
    classes, dim = cfg.head.num_classes, cfg.head.in_channels
    if is_gfnet:
        done += work(dim * classes, pooled=values)
    else:
        hidden = 4 * dim
        linear = dim * hidden + hidden * classes
        done += work(linear, normed=dim + hidden, pooled=values)
    return PRICES[convention] @ done
