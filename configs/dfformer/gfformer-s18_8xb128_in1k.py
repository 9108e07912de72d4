# GFFormer-S18 on ImageNet-1K: static filters for comparison.
_base_ = './dfformer-s18_8xb128_in1k.py'

model = dict(backbone=dict(type='mmfft.GFFormer'))
