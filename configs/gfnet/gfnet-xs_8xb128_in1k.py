# GFNet-XS on ImageNet-1K, from scratch.
_base_ = [
    '../_base_/models/gfnet_cls.py',
    '../_base_/datasets/imagenet_224_gfnet.py',
    '../_base_/schedules/imagenet_bs1024_gfnet.py',
    '../_base_/default_runtime_cls.py'
]

model = dict(
    backbone=dict(
        type='mmfft.GFNet',
        arch='xs',
        drop_path_rate=0.0),
    head=dict(in_channels=384))
