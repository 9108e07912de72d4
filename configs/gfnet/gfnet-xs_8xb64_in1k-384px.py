# GFNet-XS fine-tuned at 384 pixels.
_base_ = './gfnet-ti_8xb64_in1k-384px.py'

model = dict(backbone=dict(arch='xs'), head=dict(in_channels=384))
load_from = 'mmfft://gfnet-xs_in1k'
