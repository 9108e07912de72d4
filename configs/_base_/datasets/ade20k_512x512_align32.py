# ADE20K, tested at multiples of 32 pixels, like PVT's Semantic FPN
# (https://github.com/whai362/PVT, branch v1) and GFNet's, which follows it.
_base_ = './ade20k_512x512.py'

test_pipeline = [
    *_base_.test_pipeline[:2],
    dict(type='ResizeToMultiple', size_divisor=32),
    *_base_.test_pipeline[2:],
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
