# GFNet-XS on CIFAR-100.
_base_ = [
    '../_base_/models/gfnet_cls.py', '../_base_/datasets/cifar100_224.py',
    '../_base_/schedules/transfer_bs512.py',
    '../_base_/default_runtime_cls.py'
]

model = dict(
    backbone=dict(
        type='mmfft.GFNet',
        arch='xs',
        # As published: evaluation mode while fine-tuning, which for this model
        # means no stochastic depth.
        drop_path_rate=0.,
        init_cfg=dict(
            type='Pretrained', checkpoint='mmfft://gfnet-xs_in1k')),
    head=dict(in_channels=384, num_classes=100))
