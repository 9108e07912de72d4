# Ablation: DFFormer-S18 with a routing MLP half as wide.
_base_ = [
    '../_base_/models/dfformer_cls.py',
    '../_base_/datasets/imagenet_224_dfformer.py',
    '../_base_/schedules/imagenet_bs1024_dfformer.py',
    '../_base_/default_runtime_cls.py'
]

model = dict(
    backbone=dict(
        type='mmfft.DFFormer',
        arch='s18',
        drop_path_rate=0.2,
        reweight_ratio=0.125),
    head=dict(in_channels=512))
