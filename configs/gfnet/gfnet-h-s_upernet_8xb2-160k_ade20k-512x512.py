# UPerNet with GFNet-H-S on ADE20K.
_base_ = './gfnet-h-ti_upernet_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(
        arch='h-s',
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint='mmfft://gfnet-h-s_in1k')),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384))
