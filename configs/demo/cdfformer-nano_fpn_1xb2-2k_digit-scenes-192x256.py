# The demo's third part: Semantic FPN on photographs, from the crops' weights.
_base_ = [
    '../_base_/models/semantic-fpn.py',
    '../_base_/datasets/digit_scenes_semantic.py',
    '../_base_/schedules/demo_adamw.py', '../_base_/default_runtime_seg.py'
]

checkpoint = 'work_dirs/demo/cls/epoch_6.pth'
# SyncBN needs a GPU.
norm_cfg = dict(type='GN', num_groups=8, requires_grad=True)
# PyTorch's own initialization, which has smaller weights. AdamW moves them
# faster than those of mmcv, with which the first iterations learn only
# background.
init_cfg = dict(
    type='Kaiming',
    layer='Conv2d',
    a=5**0.5,
    mode='fan_in',
    nonlinearity='leaky_relu',
    distribution='uniform')
width = 48
model = dict(
    data_preprocessor=dict(size=(192, 256)),
    backbone=dict(
        type='mmfft.CDFFormer',
        arch='nano',
        img_size=(192, 256),
        frozen_stages=0,
        # The filters are resized from the grid of the crops to that of the
        # scenes.
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.')),
    neck=dict(
        in_channels=[24, 48, 96, 128],
        out_channels=width,
        norm_cfg=norm_cfg),
    decode_head=dict(
        in_channels=[width] * 4,
        channels=width,
        num_classes=11,
        dropout_ratio=0.,
        norm_cfg=norm_cfg,
        init_cfg=init_cfg,
        # Nine of ten pixels are background, and a short training has too
        # little time for the classes of the digits.
        loss_decode=dict(class_weight=[0.4] + [1.] * 10)))

train_dataloader = dict(batch_size=2)
max_iters = 2000
train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=max_iters, val_interval=2000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(optimizer=dict(lr=1.5e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0,
         end=200),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=max_iters,
         T_max=max_iters, eta_min=1e-5)
]
auto_scale_lr = dict(base_batch_size=2, enable=False)
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=1))
env_cfg = dict(cudnn_benchmark=False)
custom_hooks = [dict(type='mmfft.FilterStatsHook')]
randomness = dict(seed=0)
