# CDFFormer-Nano, a small arch of mmfft's own, on ImageNet-1K, from scratch.
_base_ = '../dfformer/dfformer-nano_8xb128_in1k.py'

model = dict(backbone=dict(type='mmfft.CDFFormer'))
