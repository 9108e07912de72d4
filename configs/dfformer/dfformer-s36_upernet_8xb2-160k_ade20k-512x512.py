# UPerNet with DFFormer-S36 on ADE20K.
_base_ = './dfformer-s18_upernet_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        arch='s36',
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint='mmfft://dfformer-s36_in1k')))
