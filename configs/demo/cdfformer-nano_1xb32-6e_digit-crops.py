# The demo's first part: a nano CDFFormer learns handwritten digits.
_base_ = [
    '../_base_/datasets/digit_crops.py', '../_base_/schedules/demo_adamw.py',
    '../_base_/default_runtime_cls.py'
]

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmfft.CDFFormer',
        arch='nano',
        img_size=64,
        out_indices=(3, ),
        out_norm=False),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='mmfft.MlpHead',
        num_classes=10,
        in_channels=128,
        init_cfg=dict(type='mmfft.UnitVariance')))

max_epochs = 6
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=2)
val_cfg = dict()
test_cfg = dict()
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, end=1,
         convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1,
         T_max=max_epochs - 1, eta_min=1e-5, convert_to_iter_based=True)
]
auto_scale_lr = dict(base_batch_size=32, enable=False)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
custom_hooks = [dict(type='mmfft.FilterStatsHook')]
randomness = dict(seed=0)
