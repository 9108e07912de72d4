# Fine-tuning GFNet at 384 pixels, with the command in the README of
# https://github.com/raoyongming/GFNet: 8 x 64 images, a constant rate (lowest
# and highest are equal) after 5 epochs of warm-up.
_base_ = './imagenet_bs1024_gfnet.py'

optim_wrapper = dict(optimizer=dict(lr=5e-6, weight_decay=1e-8))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.2, by_epoch=True, end=6)
]
train_cfg = dict(max_epochs=30)
auto_scale_lr = dict(base_batch_size=512)
