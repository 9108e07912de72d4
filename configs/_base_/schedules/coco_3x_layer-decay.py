# 36 epochs of 8 x 2 images with layer decay, as ConvNeXt does in mmdet's
# `mask-rcnn_convnext-t-p4-w7_fpn_amp-ms-crop-3x_coco`. There the learning rate
# falls by 0.95 for each of 7 groups of layers. Here it falls for each block,
# by a factor that gives the stem about the same rate; the configs set this
# factor.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(
        type='AdamW', lr=1e-4, weight_decay=0.05, betas=(0.9, 0.999)),
    constructor='mmfft.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        norm_decay_mult=0., bias_decay_mult=0., flat_decay_mult=0.))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, end=1000),
    dict(
        type='MultiStepLR',
        by_epoch=True,
        end=36,
        milestones=[27, 33],
        gamma=0.1)
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=36, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(base_batch_size=16, enable=False)
