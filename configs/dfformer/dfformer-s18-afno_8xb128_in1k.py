# Ablation: DFFormer-S18 with AFNO instead of dynamic filters.
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
        token_mixers=['AFNO2D'] * 4),
    head=dict(in_channels=512))
