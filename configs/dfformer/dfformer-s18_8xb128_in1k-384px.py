# DFFormer-S18 fine-tuned at 384 pixels, with the recipe of ConvFormer.
_base_ = [
    '../_base_/models/dfformer_cls.py',
    '../_base_/datasets/imagenet_384_dfformer.py',
    '../_base_/schedules/imagenet_bs1024_dfformer_384.py',
    '../_base_/default_runtime_cls.py'
]

model = dict(
    backbone=dict(
        type='mmfft.DFFormer',
        arch='s18',
        img_size=384,
        drop_path_rate=0.3),
    head=dict(in_channels=512, dropout=0.4),
    # No mixup and no CutMix.
    train_cfg=None)
load_from = 'mmfft://dfformer-s18_in1k'
