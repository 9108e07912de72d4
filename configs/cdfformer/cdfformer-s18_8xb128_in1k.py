# CDFFormer-S18 on ImageNet-1K, from scratch.
_base_ = '../dfformer/dfformer-s18_8xb128_in1k.py'

model = dict(backbone=dict(type='mmfft.CDFFormer'))
