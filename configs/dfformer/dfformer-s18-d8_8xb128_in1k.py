# Ablation: DFFormer-S18 with a routing MLP half as wide.
_base_ = './dfformer-s18_8xb128_in1k.py'

model = dict(backbone=dict(reweight_ratio=0.125))
