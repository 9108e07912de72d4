# The demo's second part: Mask R-CNN on photographs, from the crops' weights.
_base_ = [
    '../_base_/models/mask-rcnn_fpn.py',
    '../_base_/datasets/digit_scenes_instance.py',
    '../_base_/schedules/demo_adamw.py', '../_base_/default_runtime_det.py'
]

checkpoint = 'work_dirs/demo/cls/epoch_6.pth'
width = 64
model = dict(
    backbone=dict(
        type='mmfft.CDFFormer',
        arch='nano',
        img_size=(192, 256),
        frozen_stages=1,
        # The filters are resized from the grid of the crops to that of the
        # scenes.
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.')),
    # Digits are 20 to 100 pixels large, so strides 8 to 32 are enough. The
    # narrow heads keep an iteration within half a second on a CPU.
    neck=dict(
        in_channels=[24, 48, 96, 128],
        out_channels=width,
        start_level=1,
        num_outs=3),
    rpn_head=dict(
        in_channels=width,
        feat_channels=width,
        anchor_generator=dict(scales=[4], strides=[8, 16, 32])),
    roi_head=dict(
        bbox_roi_extractor=dict(
            out_channels=width, featmap_strides=[8, 16, 32]),
        bbox_head=dict(
            in_channels=width, fc_out_channels=256, num_classes=10),
        mask_roi_extractor=dict(
            out_channels=width, featmap_strides=[8, 16, 32]),
        mask_head=dict(
            num_convs=2,
            in_channels=width,
            conv_out_channels=width,
            num_classes=10)),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=300, max_per_img=200),
        rcnn=dict(sampler=dict(num=64))),
    test_cfg=dict(rpn=dict(nms_pre=200, max_per_img=100)))

train_dataloader = dict(batch_size=4)
max_epochs = 3
train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=3)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0,
         end=100),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=max_epochs,
         T_max=max_epochs, eta_min=1e-5, convert_to_iter_based=True)
]
auto_scale_lr = dict(base_batch_size=4, enable=False)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
custom_hooks = [dict(type='mmfft.FilterStatsHook')]
randomness = dict(seed=0)
