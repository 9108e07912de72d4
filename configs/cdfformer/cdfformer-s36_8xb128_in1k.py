# CDFFormer-S36 on ImageNet-1K, from scratch.
_base_ = '../dfformer/dfformer-s36_8xb128_in1k.py'

model = dict(backbone=dict(type='mmfft.CDFFormer'))
