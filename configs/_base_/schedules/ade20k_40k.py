# Semantic FPN as published in segmentation/configs of
# https://github.com/okojoalg/dfformer, which follows PVT: 8 x 4 images, single
# precision, weight decay on everything, no warm-up.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=1e-4))
param_scheduler = [
    dict(type='PolyLR', by_epoch=False, end=40000, power=0.9, eta_min=0.)
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=40000, val_interval=4000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(base_batch_size=32, enable=False)
