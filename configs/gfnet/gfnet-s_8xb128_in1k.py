# GFNet-S on ImageNet-1K, from scratch.
_base_ = './gfnet-ti_8xb128_in1k.py'

model = dict(
    backbone=dict(arch='s', drop_path_rate=0.15),
    head=dict(in_channels=384))
