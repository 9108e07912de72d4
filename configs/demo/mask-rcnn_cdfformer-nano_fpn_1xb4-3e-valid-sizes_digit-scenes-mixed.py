# Each image of a padded batch at its own size, and no proposals from the
# padding.
_base_ = './mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes-mixed.py'

model = dict(
    data_preprocessor=dict(type='mmfft.DetDataPreprocessor'),
    rpn_head=dict(type='mmfft.RPNHead'))
