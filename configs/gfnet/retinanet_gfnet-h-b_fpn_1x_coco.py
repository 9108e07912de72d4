# RetinaNet with GFNet-H-B on COCO.
# No recipe was published for GFNet; this is DFFormer's.
_base_ = './retinanet_gfnet-h-ti_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        arch='h-b',
        init_cfg=dict(checkpoint='mmfft://gfnet-h-b_in1k')),
    neck=dict(in_channels=[192, 384, 768]))
