# Ablation: DFFormer-S18 with two basis filters instead of four.
_base_ = './dfformer-s18_8xb128_in1k.py'

model = dict(backbone=dict(num_filters=2))
