# Transfer to small data sets, after GFNet's example for Cars in the README of
# https://github.com/raoyongming/GFNet: 8 x 64 images, 1,000 epochs.
_base_ = './imagenet_bs1024_gfnet.py'

optim_wrapper = dict(optimizer=dict(lr=1e-4, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-2, by_epoch=True, end=6),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        T_max=1000,
        end=1001,
        eta_min=1e-5)
]
train_cfg = dict(max_epochs=1000, val_interval=10)
auto_scale_lr = dict(base_batch_size=512)
