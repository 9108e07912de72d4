# What a filter sees beyond the borders of an image, and of its padding, is
# zero.
_base_ = './cdfformer-nano_fpn_1xb2-2k_digit-scenes-mixed.py'

model = dict(backbone=dict(boundary='zero'))
