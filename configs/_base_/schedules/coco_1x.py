# Mask R-CNN for 12 epochs of 8 x 2 images. The DFFormer family has no recipe
# for it. This is the recipe of PVT (https://github.com/whai362/PVT) and
# PoolFormer (https://github.com/sail-sg/poolformer), whose other recipes the
# family follows.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=1e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, end=500),
    dict(
        type='MultiStepLR',
        by_epoch=True,
        end=12,
        milestones=[8, 11],
        gamma=0.1)
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(base_batch_size=16, enable=False)
