# UPerNet with GFNet-H-Ti on ADE20K.
_base_ = [
    '../_base_/models/upernet.py', '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/ade20k_160k.py', '../_base_/default_runtime_seg.py'
]

model = dict(
    data_preprocessor=dict(size=_base_.crop_size),
    backbone=dict(
        type='mmfft.GFNetPyramid',
        arch='h-ti',
        img_size=512,
        drop_path_rate=0.1,
        init_cfg=dict(
            type='Pretrained', checkpoint='mmfft://gfnet-h-ti_in1k')),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256))
train_dataloader = dict(batch_size=2)
