# GFNet-H-S fine-tuned at 384 pixels.
_base_ = './gfnet-h-ti_8xb64_in1k-384px.py'

model = dict(backbone=dict(arch='h-s'), head=dict(in_channels=768))
load_from = 'mmfft://gfnet-h-s_in1k'
