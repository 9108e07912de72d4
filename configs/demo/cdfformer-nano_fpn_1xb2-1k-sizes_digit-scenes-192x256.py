# The demo's segmentor goes on at several sizes, so that it knows them.
_base_ = './cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'

load_from = 'work_dirs/demo/seg/iter_2000.pth'
model = dict(
    data_preprocessor=dict(
        size=None, size_divisor=32, test_cfg=dict(size_divisor=32)),
    backbone=dict(init_cfg=None))
# Every second image has the size of the scenes, so that it is not forgotten.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomChoiceResize',
        scales=[(192, 144), (320, 240), (384, 288)] + [(256, 192)] * 3,
        resize_type='Resize',
        keep_ratio=True),
    dict(type='PackSegInputs')
]
# `scale_factor` tells the size for a test.
test_pipeline = _base_.test_pipeline
test_pipeline.insert(
    1, dict(type='Resize', scale_factor=1.0, keep_ratio=True))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=5e-4))
max_iters = 1000
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=0,
        T_max=max_iters,
        eta_min=1e-5)
]
