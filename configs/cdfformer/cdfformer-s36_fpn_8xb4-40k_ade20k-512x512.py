# Semantic FPN with CDFFormer-S36 on ADE20K.
_base_ = '../dfformer/dfformer-s36_fpn_8xb4-40k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        type='mmfft.CDFFormer',
        init_cfg=dict(checkpoint='mmfft://cdfformer-s36_in1k')))
