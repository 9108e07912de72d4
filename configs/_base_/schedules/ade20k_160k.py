# UPerNet for 160,000 iterations of 8 x 2 images: the recipe of Swin in
# mmsegmentation; none was published for these backbones.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='AdamW', lr=6e-5, weight_decay=0.01, betas=(0.9, 0.999)),
    # This includes the batch norms of the heads, which mmsegmentation's rule
    # misses because it goes by name.
    paramwise_cfg=dict(norm_decay_mult=0.))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, end=1500),
    dict(
        type='PolyLR',
        by_epoch=False,
        begin=1500,
        end=160000,
        power=1.,
        eta_min=0.)
]
train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=160000, val_interval=16000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(base_batch_size=16, enable=False)
