# Mask R-CNN with DFFormer-S36 on COCO.
_base_ = [
    '../_base_/models/mask-rcnn_fpn.py', '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/coco_1x.py', '../_base_/default_runtime_det.py'
]

model = dict(
    backbone=dict(
        type='mmfft.DFFormer',
        arch='s36',
        img_size=800,
        init_cfg=dict(
            type='Pretrained', checkpoint='mmfft://dfformer-s36_in1k')),
    neck=dict(in_channels=[64, 128, 320, 512]))
