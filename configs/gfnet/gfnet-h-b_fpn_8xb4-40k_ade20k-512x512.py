# Semantic FPN with GFNet-H-B on ADE20K.
# This is PVT's recipe, which GFNet's authors name.
_base_ = './gfnet-h-ti_fpn_8xb4-40k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        arch='h-b',
        init_cfg=dict(checkpoint='mmfft://gfnet-h-b_in1k')),
    neck=dict(in_channels=[96, 192, 384, 768]))
