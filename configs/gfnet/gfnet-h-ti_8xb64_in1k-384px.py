# GFNet-H-Ti fine-tuned at 384 pixels.
_base_ = [
    '../_base_/models/gfnet_cls.py',
    '../_base_/datasets/imagenet_384_gfnet.py',
    '../_base_/schedules/imagenet_bs512_gfnet_384.py',
    '../_base_/default_runtime_cls.py'
]

model = dict(
    backbone=dict(
        type='mmfft.GFNetPyramid',
        arch='h-ti',
        out_indices=(3, ),
        img_size=384,
        # As published: evaluation mode while fine-tuning, which for this model
        # means no stochastic depth.
        drop_path_rate=0.),
    head=dict(in_channels=512))
load_from = 'mmfft://gfnet-h-ti_in1k'
