# Semantic FPN with DFFormer-S36 on ADE20K.
_base_ = './dfformer-s18_fpn_8xb4-40k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        arch='s36',
        init_cfg=dict(checkpoint='mmfft://dfformer-s36_in1k')))
