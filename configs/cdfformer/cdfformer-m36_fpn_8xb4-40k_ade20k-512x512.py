# Semantic FPN with CDFFormer-M36 on ADE20K.
_base_ = '../dfformer/dfformer-m36_fpn_8xb4-40k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        type='mmfft.CDFFormer',
        init_cfg=dict(checkpoint='mmfft://cdfformer-m36_in1k')))
