# RetinaNet with DFFormer-M36 on COCO.
_base_ = [
    '../_base_/models/retinanet_fpn.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/coco_1x_retinanet.py',
    '../_base_/default_runtime_det.py'
]

model = dict(
    backbone=dict(
        type='mmfft.DFFormer',
        arch='m36',
        img_size=800,
        init_cfg=dict(
            type='Pretrained', checkpoint='mmfft://dfformer-m36_in1k')),
    neck=dict(in_channels=[192, 384, 576]))
