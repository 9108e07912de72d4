# Mask R-CNN with GFNet-H-Ti on COCO.
_base_ = [
    '../_base_/models/mask-rcnn_fpn.py', '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/coco_1x.py', '../_base_/default_runtime_det.py'
]

model = dict(
    backbone=dict(
        type='mmfft.GFNetPyramid',
        arch='h-ti',
        img_size=800,
        init_cfg=dict(
            type='Pretrained', checkpoint='mmfft://gfnet-h-ti_in1k')),
    neck=dict(in_channels=[64, 128, 256, 512]))
