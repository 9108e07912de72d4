# The demo's segmentor goes on at several sizes, so that it knows them.
_base_ = './cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'

load_from = 'work_dirs/demo/seg/iter_2000.pth'
model = dict(
    data_preprocessor=dict(size=None, size_divisor=32),
    backbone=dict(init_cfg=None))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResize',
        scale=(256, 192),
        ratio_range=(0.6, 2.0),
        keep_ratio=True),
    dict(type='PackSegInputs')
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
max_iters = 600
train_cfg = dict(max_iters=max_iters, val_interval=max_iters)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        by_epoch=False,
        begin=0,
        T_max=max_iters,
        eta_min=1e-5)
]
