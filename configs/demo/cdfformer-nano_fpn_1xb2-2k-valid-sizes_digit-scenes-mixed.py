# Each image of a padded batch at its own size.
_base_ = './cdfformer-nano_fpn_1xb2-2k_digit-scenes-mixed.py'

model = dict(data_preprocessor=dict(type='mmfft.SegDataPreProcessor'))
