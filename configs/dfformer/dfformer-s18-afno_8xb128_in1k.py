# Ablation: DFFormer-S18 with AFNO instead of dynamic filters.
_base_ = './dfformer-s18_8xb128_in1k.py'

model = dict(backbone=dict(token_mixers=['AFNO2D'] * 4))
