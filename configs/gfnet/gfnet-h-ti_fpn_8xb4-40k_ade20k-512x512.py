# Semantic FPN with GFNet-H-Ti on ADE20K.
# This is PVT's recipe, which GFNet's authors name.
_base_ = [
    '../_base_/models/semantic-fpn.py',
    '../_base_/datasets/ade20k_512x512_align32.py',
    '../_base_/schedules/ade20k_40k.py', '../_base_/default_runtime_seg.py'
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(
        type='mmfft.GFNetPyramid',
        arch='h-ti',
        img_size=512,
        init_cfg=dict(
            type='Pretrained', checkpoint='mmfft://gfnet-h-ti_in1k')),
    neck=dict(in_channels=[64, 128, 256, 512]))
