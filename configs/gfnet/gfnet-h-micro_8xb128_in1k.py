# GFNet-H-Micro, a small arch of mmfft's own, on ImageNet-1K, from scratch.
_base_ = './gfnet-h-nano_8xb128_in1k.py'

model = dict(
    backbone=dict(arch='h-micro'),
    head=dict(in_channels=256))
