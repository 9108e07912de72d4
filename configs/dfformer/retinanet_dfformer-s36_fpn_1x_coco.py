# RetinaNet with DFFormer-S36 on COCO.
_base_ = './retinanet_dfformer-s18_fpn_1x_coco.py'

model = dict(
    backbone=dict(
        arch='s36',
        init_cfg=dict(checkpoint='mmfft://dfformer-s36_in1k')))
