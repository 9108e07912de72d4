# CDFFormer-B36 fine-tuned at 384 pixels, by the recipe of ConvFormer.
_base_ = [
    '../_base_/models/dfformer_cls.py',
    '../_base_/datasets/imagenet_384_dfformer.py',
    '../_base_/schedules/imagenet_bs1024_dfformer_384.py',
    '../_base_/default_runtime_cls.py'
]

model = dict(
    backbone=dict(
        type='mmfft.CDFFormer',
        arch='b36',
        img_size=384,
        drop_path_rate=0.8),
    head=dict(in_channels=768, dropout=0.5),
    # Neither mixup nor CutMix.
    train_cfg=None)
load_from = 'mmfft://cdfformer-b36_in1k'
