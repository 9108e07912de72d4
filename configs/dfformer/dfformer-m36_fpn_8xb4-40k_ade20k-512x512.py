# Semantic FPN with DFFormer-M36 on ADE20K.
_base_ = './dfformer-s18_fpn_8xb4-40k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        arch='m36',
        init_cfg=dict(checkpoint='mmfft://dfformer-m36_in1k')),
    neck=dict(in_channels=[96, 192, 384, 576]))
