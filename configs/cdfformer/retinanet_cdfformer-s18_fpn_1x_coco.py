# RetinaNet with CDFFormer-S18 on COCO.
_base_ = '../dfformer/retinanet_dfformer-s18_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        type='mmfft.CDFFormer',
        init_cfg=dict(checkpoint='mmfft://cdfformer-s18_in1k')))
