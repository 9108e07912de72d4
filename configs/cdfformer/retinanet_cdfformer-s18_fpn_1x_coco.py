# RetinaNet with CDFFormer-S18 on COCO.
_base_ = [
    '../_base_/models/retinanet_fpn.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/coco_1x_retinanet.py',
    '../_base_/default_runtime_det.py'
]

model = dict(
    backbone=dict(
        type='mmfft.CDFFormer',
        arch='s18',
        img_size=800,
        init_cfg=dict(
            type='Pretrained', checkpoint='mmfft://cdfformer-s18_in1k')),
    neck=dict(in_channels=[128, 320, 512]))
