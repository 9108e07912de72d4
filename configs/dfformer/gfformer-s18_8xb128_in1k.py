# GFFormer-S18, static filters for comparison, on ImageNet-1K.
_base_ = [
    '../_base_/models/dfformer_cls.py',
    '../_base_/datasets/imagenet_224_dfformer.py',
    '../_base_/schedules/imagenet_bs1024_dfformer.py',
    '../_base_/default_runtime_cls.py'
]

model = dict(
    backbone=dict(
        type='mmfft.GFFormer',
        arch='s18',
        drop_path_rate=0.2),
    head=dict(in_channels=512))
