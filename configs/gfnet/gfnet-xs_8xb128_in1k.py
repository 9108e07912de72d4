# GFNet-XS on ImageNet-1K, from scratch.
_base_ = './gfnet-ti_8xb128_in1k.py'

model = dict(
    backbone=dict(arch='xs'),
    head=dict(in_channels=384))
