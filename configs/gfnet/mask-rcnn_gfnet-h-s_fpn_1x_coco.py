# Mask R-CNN with GFNet-H-S on COCO.
_base_ = './mask-rcnn_gfnet-h-ti_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        arch='h-s',
        init_cfg=dict(checkpoint='mmfft://gfnet-h-s_in1k')),
    neck=dict(in_channels=[96, 192, 384, 768]))
