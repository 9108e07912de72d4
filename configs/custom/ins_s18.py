# Masks of your own objects, with CDFFormer-S18.
# The three lines to edit stand in ins.py.
_base_ = './ins.py'

model = dict(
    backbone=dict(
        arch='s18',
        init_cfg=dict(
            type='Pretrained', checkpoint='mmfft://cdfformer-s18_in1k')),
    neck=dict(in_channels=[64, 128, 320, 512], out_channels=256),
    rpn_head=dict(in_channels=256, feat_channels=256),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=256),
        bbox_head=dict(in_channels=256, fc_out_channels=1024),
        mask_roi_extractor=dict(out_channels=256),
        mask_head=dict(
            num_convs=4, in_channels=256, conv_out_channels=256)))
# Published weights change slowly.
optim_wrapper = dict(optimizer=dict(lr=2e-4))
