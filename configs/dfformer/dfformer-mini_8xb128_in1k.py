# DFFormer-Mini, a small arch of mmfft's own, on ImageNet-1K, from scratch.
_base_ = './dfformer-nano_8xb128_in1k.py'

model = dict(
    backbone=dict(arch='mini'),
    head=dict(in_channels=352))
