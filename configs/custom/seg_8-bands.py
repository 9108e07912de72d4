# Label images of your own for TIFFs of eight bands, of any type of number.
# The three lines to edit stand in seg.py.
_base_ = './seg.py'

# Of the bands in the files: docs/how_to/data_recipes.md says how to measure.
mean = [3000.] * 8
std = [1000.] * 8

# mmengine's data_preprocessor takes one or three values.
load = [
    dict(
        type='LoadImageFromFile',
        imdecode_backend='tifffile',
        color_type='unchanged',
        to_float32=True),
    dict(type='Normalize', mean=mean, std=std, to_rgb=False)
]
train_pipeline = [
    step for step in _base_.train_pipeline[1:]
    # It is for photographs of 8 bits.
    if step['type'] != 'PhotoMetricDistortion'
]
train_dataloader = dict(dataset=dict(pipeline=load + train_pipeline))
val_dataloader = dict(
    dataset=dict(pipeline=load + _base_.test_pipeline[1:]))
test_dataloader = val_dataloader

model = dict(
    data_preprocessor=dict(mean=None, std=None, bgr_to_rgb=False),
    backbone=dict(in_channels=len(mean)))
