# GFNet-H-Nano, a small arch of mmfft's own, on ImageNet-1K, from scratch.
_base_ = './gfnet-h-ti_8xb128_in1k.py'

model = dict(
    backbone=dict(arch='h-nano', drop_path_rate=0.0),
    head=dict(
        in_channels=160,
        init_cfg=dict(_delete_=True, type='mmfft.UnitVariance')),
    # As mmpretrain trains ConvNeXt V2-Atto (3.7 M parameters): images are not
    # mixed.
    train_cfg=None)
custom_hooks = [dict(type='mmfft.FilterStatsHook', interval=1000)]
