# Mask R-CNN with CDFFormer-S18 on COCO.
_base_ = [
    '../_base_/models/mask-rcnn_fpn.py', '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/coco_1x.py', '../_base_/default_runtime_det.py'
]

model = dict(
    backbone=dict(
        type='mmfft.CDFFormer',
        arch='s18',
        img_size=800,
        init_cfg=dict(
            type='Pretrained', checkpoint='mmfft://cdfformer-s18_in1k')),
    neck=dict(in_channels=[64, 128, 320, 512]))
