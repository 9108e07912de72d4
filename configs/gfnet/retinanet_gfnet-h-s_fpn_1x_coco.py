# RetinaNet with GFNet-H-S on COCO.
# No recipe was published for GFNet; this is DFFormer's.
_base_ = './retinanet_gfnet-h-ti_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        arch='h-s',
        init_cfg=dict(checkpoint='mmfft://gfnet-h-s_in1k')),
    neck=dict(in_channels=[192, 384, 768]))
