# RetinaNet with CDFFormer-M36 on COCO.
_base_ = '../dfformer/retinanet_dfformer-m36_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        type='mmfft.CDFFormer',
        init_cfg=dict(checkpoint='mmfft://cdfformer-m36_in1k')))
