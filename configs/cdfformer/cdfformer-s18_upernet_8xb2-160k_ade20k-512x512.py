# UPerNet with CDFFormer-S18 on ADE20K.
_base_ = '../dfformer/dfformer-s18_upernet_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        type='mmfft.CDFFormer',
        init_cfg=dict(checkpoint='mmfft://cdfformer-s18_in1k')))
