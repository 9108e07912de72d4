# GFNet-XS on ImageNet-1K on one GPU: the gradients of 8 batches
# make a step.
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

optim_wrapper = dict(accumulative_counts=8)
# --auto-scale-lr compares the images of one iteration, not of one step.
auto_scale_lr = dict(base_batch_size=128)
