# RetinaNet with GFNet-H-Ti on COCO.
# No recipe was published for GFNet; this is DFFormer's.
_base_ = [
    '../_base_/models/retinanet_fpn.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/coco_1x_retinanet.py',
    '../_base_/default_runtime_det.py'
]

model = dict(
    backbone=dict(
        type='mmfft.GFNetPyramid',
        arch='h-ti',
        img_size=800,
        init_cfg=dict(
            type='Pretrained', checkpoint='mmfft://gfnet-h-ti_in1k')),
    neck=dict(in_channels=[128, 256, 512]))
