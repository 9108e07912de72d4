# The start of a detector or segmentor whose filters are not circular.
_base_ = './cdfformer-nano_1xb32-6e_digit-crops.py'

model = dict(backbone=dict(boundary='zero'))
