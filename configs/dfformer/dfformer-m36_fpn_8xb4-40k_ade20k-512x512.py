# Semantic FPN with DFFormer-M36 on ADE20K.
_base_ = [
    '../_base_/models/semantic-fpn.py', '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/ade20k_40k.py', '../_base_/default_runtime_seg.py'
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(
        type='mmfft.DFFormer',
        arch='m36',
        img_size=512,
        init_cfg=dict(
            type='Pretrained', checkpoint='mmfft://dfformer-m36_in1k')),
    neck=dict(in_channels=[96, 192, 384, 576]))
