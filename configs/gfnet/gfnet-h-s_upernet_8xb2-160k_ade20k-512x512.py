# UPerNet with GFNet-H-S on ADE20K.
_base_ = [
    '../_base_/models/upernet.py', '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/ade20k_160k.py', '../_base_/default_runtime_seg.py'
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(
        type='mmfft.GFNetPyramid',
        arch='h-s',
        img_size=512,
        drop_path_rate=0.2,
        init_cfg=dict(
            type='Pretrained', checkpoint='mmfft://gfnet-h-s_in1k')),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384))
train_dataloader = dict(batch_size=2)
