# What a filter sees beyond the borders of an image, and of its padding, is
# zero.
_base_ = './mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes-mixed.py'

model = dict(backbone=dict(boundary='zero'))
