# GFNet-B fine-tuned at 384 pixels.
_base_ = './gfnet-ti_8xb64_in1k-384px.py'

model = dict(backbone=dict(arch='b'), head=dict(in_channels=512))
load_from = 'mmfft://gfnet-b_in1k'
