# Ablation: DFFormer-S18 with ReLU; the routing MLP keeps StarReLU.
_base_ = './dfformer-s18_8xb128_in1k.py'

model = dict(backbone=dict(act_cfg=dict(type='mmfft.ReLU')))
