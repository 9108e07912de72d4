# GFNet on ImageNet-1K, from main_gfnet.py and the README of
# https://github.com/raoyongming/GFNet: 8 x 128 images, mixed precision.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(
        type='AdamW', lr=1e-3, weight_decay=0.05, eps=1e-8,
        betas=(0.9, 0.999)),
    # timm's rule: no decay for biases, the position embedding and parameters
    # of one dimension (norms, layer scale). Filters are decayed.
    paramwise_cfg=dict(
        norm_decay_mult=0.,
        bias_decay_mult=0.,
        flat_decay_mult=0.,
        custom_keys={'.pos_embed': dict(decay_mult=0.)}),
    clip_grad=dict(max_norm=1.))

# timm's cosine schedule, one step an epoch. It starts with the warm-up, not
# after it. The published loop sets the rate one epoch late, trains the first
# two epochs with 1e-6 and does not use its 10 epochs of cooldown. Here no
# epoch is late.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=6),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        T_max=300,
        end=301,
        eta_min=1e-5)
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=1024, enable=False)
