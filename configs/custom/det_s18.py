# Boxes of your own, with CDFFormer-S18.
# The three lines to edit stand in det.py.
_base_ = './det.py'

model = dict(
    backbone=dict(
        arch='s18',
        init_cfg=dict(
            type='Pretrained', checkpoint='mmfft://cdfformer-s18_in1k')),
    neck=dict(in_channels=[128, 320, 512], out_channels=256),
    bbox_head=dict(in_channels=256, feat_channels=256, stacked_convs=4))
# Published weights change slowly.
optim_wrapper = dict(optimizer=dict(lr=2e-4))
