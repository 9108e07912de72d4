# GFNet-H-B on CIFAR-100.
_base_ = './gfnet-xs_8xb64_cifar100.py'

model = dict(
    backbone=dict(
        type='mmfft.GFNetPyramid',
        arch='h-b',
        out_indices=(3, ),
        init_cfg=dict(checkpoint='mmfft://gfnet-h-b_in1k')),
    head=dict(in_channels=768))
