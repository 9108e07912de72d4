# UPerNet with DFFormer-M36 on ADE20K.
_base_ = './dfformer-s18_upernet_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        arch='m36',
        drop_path_rate=0.4,
        init_cfg=dict(checkpoint='mmfft://dfformer-m36_in1k')),
    decode_head=dict(in_channels=[96, 192, 384, 576]),
    auxiliary_head=dict(in_channels=384))
