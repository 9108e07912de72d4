# Mask R-CNN with CDFFormer-S36 on COCO.
_base_ = '../dfformer/mask-rcnn_dfformer-s36_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        type='mmfft.CDFFormer',
        init_cfg=dict(checkpoint='mmfft://cdfformer-s36_in1k')))
