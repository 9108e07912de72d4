# Classes of your own, a folder each, with CDFFormer-S18.
# The three lines to edit stand in cls.py.
_base_ = './cls.py'

model = dict(
    backbone=dict(
        arch='s18',
        init_cfg=dict(
            type='Pretrained', checkpoint='mmfft://cdfformer-s18_in1k')),
    head=dict(in_channels=512, init_cfg=None))
# Published weights change slowly.
optim_wrapper = dict(optimizer=dict(lr=2e-4))
