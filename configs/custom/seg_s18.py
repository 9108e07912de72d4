# Label images of your own, with CDFFormer-S18.
# The three lines to edit stand in seg.py.
_base_ = './seg.py'

model = dict(
    backbone=dict(
        arch='s18',
        init_cfg=dict(
            type='Pretrained', checkpoint='mmfft://cdfformer-s18_in1k')),
    neck=dict(in_channels=[64, 128, 320, 512], out_channels=256),
    decode_head=dict(in_channels=[256] * 4, channels=128))
# Published weights change slowly.
optim_wrapper = dict(optimizer=dict(lr=2e-4))
