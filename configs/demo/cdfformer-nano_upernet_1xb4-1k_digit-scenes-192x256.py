# The demo's third part: UPerNet on photographs, from the crops' weights.
_base_ = [
    '../_base_/models/cdfformer-nano.py', '../_base_/models/upernet.py',
    '../_base_/datasets/digit_scenes_semantic.py',
    '../_base_/schedules/demo_adamw.py', '../_base_/default_runtime_seg.py'
]

checkpoint = 'work_dirs/demo/cls/epoch_8.pth'
# SyncBN needs a GPU.
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(192, 256)),
    backbone=dict(
        type='mmfft.CDFFormer',
        arch=_base_.nano,
        img_size=(192, 256),
        frozen_stages=0,
        # The filters change from the crops' grid to the scenes'.
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.')),
    decode_head=dict(
        in_channels=[24, 48, 96, 128],
        channels=48,
        num_classes=11,
        dropout_ratio=0.,
        norm_cfg=norm_cfg,
        # PyTorch's own, of smaller weights: AdamW moves them faster than
        # those of mmcv, from which 1,000 iterations learn background alone.
        init_cfg=dict(
            type='Kaiming',
            layer='Conv2d',
            a=5**0.5,
            mode='fan_in',
            nonlinearity='leaky_relu',
            distribution='uniform'),
        # Nine pixels of ten are background; the digits' classes are what
        # 1,000 iterations are short for.
        loss_decode=dict(class_weight=[0.4] + [1.] * 10)),
    auxiliary_head=None)

train_dataloader = dict(batch_size=4)
max_iters = 1000
train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=max_iters, val_interval=1000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0,
         end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=max_iters,
         T_max=max_iters, eta_min=1e-5)
]
auto_scale_lr = dict(base_batch_size=4, enable=False)
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=500, max_keep_ckpts=1))
env_cfg = dict(cudnn_benchmark=False)
randomness = dict(seed=0)
