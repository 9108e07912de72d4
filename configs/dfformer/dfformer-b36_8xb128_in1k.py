# DFFormer-B36 on ImageNet-1K, from scratch.
_base_ = [
    '../_base_/models/dfformer_cls.py',
    '../_base_/datasets/imagenet_224_dfformer.py',
    '../_base_/schedules/imagenet_bs1024_dfformer.py',
    '../_base_/default_runtime_cls.py'
]

model = dict(
    backbone=dict(
        type='mmfft.DFFormer',
        arch='b36',
        # Published for S18 alone; ConvFormer's, the nearest relative.
        drop_path_rate=0.6),
    head=dict(in_channels=768))
