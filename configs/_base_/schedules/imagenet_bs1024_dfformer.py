# The DFFormer family on ImageNet-1K, from the command and train.py of
# https://github.com/okojoalg/dfformer: 8 x 128 images, mixed precision, no
# clipping.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(
        type='AdamW', lr=1e-3, weight_decay=0.05, eps=1e-8,
        betas=(0.9, 0.999)),
    # timm's rule: no decay for biases and parameters of one dimension (norms,
    # scalars of StarReLU, scales of shortcuts). Filters are decayed.
    paramwise_cfg=dict(
        norm_decay_mult=0., bias_decay_mult=0., flat_decay_mult=0.))

# timm's cosine schedule, one step an epoch. It starts with the warm-up, not
# after it, and ends with 10 epochs at the lowest rate. These two schedulers
# together are within 1e-7 of it, and within 1 % of the peak during warm-up.
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=21),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        T_max=300,
        end=301,
        eta_min=1e-5)
]
train_cfg = dict(by_epoch=True, max_epochs=310, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=1024, enable=False)
