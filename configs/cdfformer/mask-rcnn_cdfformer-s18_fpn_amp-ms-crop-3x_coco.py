# Mask R-CNN with CDFFormer-S18 on COCO, three times as long, with layer decay.
_base_ = '../dfformer/mask-rcnn_dfformer-s18_fpn_amp-ms-crop-3x_coco.py'

model = dict(
    backbone=dict(
        type='mmfft.CDFFormer',
        init_cfg=dict(checkpoint='mmfft://cdfformer-s18_in1k')))
