# GFFormer-S18, static filters for comparison, on ImageNet-1K.
_base_ = './dfformer-s18_8xb128_in1k.py'

model = dict(backbone=dict(type='mmfft.GFFormer'))
