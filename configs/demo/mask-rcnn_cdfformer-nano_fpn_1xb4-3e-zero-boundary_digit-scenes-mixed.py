# What a filter sees beyond the borders of an image, and of its padding, is
# zero.
_base_ = './mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes-mixed.py'

checkpoint = (
    'work_dirs/cdfformer-nano_1xb32-6e-zero-boundary_digit-crops/epoch_6.pth')
model = dict(
    backbone=dict(boundary='zero', init_cfg=dict(checkpoint=checkpoint)))
