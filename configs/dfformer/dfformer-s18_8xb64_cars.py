# DFFormer-S18 on Stanford Cars, with GFNet's recipe: this family has none.
_base_ = [
    '../_base_/models/dfformer_cls.py', '../_base_/datasets/cars_224.py',
    '../_base_/schedules/transfer_bs512.py',
    '../_base_/default_runtime_cls.py'
]

model = dict(
    backbone=dict(
        type='mmfft.DFFormer',
        arch='s18',
        init_cfg=dict(
            type='Pretrained', checkpoint='mmfft://dfformer-s18_in1k')),
    head=dict(in_channels=512, num_classes=196))
