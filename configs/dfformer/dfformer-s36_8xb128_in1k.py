# DFFormer-S36 on ImageNet-1K, from scratch.
_base_ = './dfformer-s18_8xb128_in1k.py'

model = dict(
    backbone=dict(
        arch='s36',
        # Published for S18 only. This is ConvFormer's, the closest relative.
        drop_path_rate=0.3))
