# Each image of a padded batch at its own size.
_base_ = './mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes-mixed.py'

model = dict(data_preprocessor=dict(type='mmfft.DetDataPreprocessor'))
