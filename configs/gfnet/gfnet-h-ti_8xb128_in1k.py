# GFNet-H-Ti on ImageNet-1K, from scratch.
_base_ = [
    '../_base_/models/gfnet_cls.py',
    '../_base_/datasets/imagenet_224_gfnet.py',
    '../_base_/schedules/imagenet_bs1024_gfnet.py',
    '../_base_/default_runtime_cls.py'
]

model = dict(
    backbone=dict(
        type='mmfft.GFNetPyramid',
        arch='h-ti',
        out_indices=(3, ),
        drop_path_rate=0.1),
    head=dict(in_channels=512))
