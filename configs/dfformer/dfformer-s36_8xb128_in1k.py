# DFFormer-S36 on ImageNet-1K, from scratch.
_base_ = './dfformer-s18_8xb128_in1k.py'

model = dict(
    backbone=dict(
        arch='s36',
        # Published for S18 only; ConvFormer's, the nearest relative.
        drop_path_rate=0.3))
