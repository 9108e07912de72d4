# DFFormer-Nano, a small arch of mmfft's own, on ImageNet-1K, from scratch.
_base_ = [
    '../_base_/models/dfformer_cls.py',
    '../_base_/datasets/imagenet_224_dfformer.py',
    '../_base_/schedules/imagenet_bs1024_dfformer.py',
    '../_base_/default_runtime_cls.py'
]

model = dict(
    backbone=dict(type='mmfft.DFFormer', arch='nano'),
    head=dict(in_channels=128, init_cfg=dict(type='mmfft.UnitVariance')),
    # As mmpretrain trains ConvNeXt V2-Atto (3.7 M parameters): images are not
    # mixed.
    train_cfg=None)
custom_hooks = [dict(type='mmfft.FilterStatsHook', interval=1000)]
