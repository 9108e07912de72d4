# Mask R-CNN with DFFormer-M36 on COCO.
_base_ = './mask-rcnn_dfformer-s18_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        arch='m36',
        init_cfg=dict(checkpoint='mmfft://dfformer-m36_in1k')),
    neck=dict(in_channels=[96, 192, 384, 576]))
