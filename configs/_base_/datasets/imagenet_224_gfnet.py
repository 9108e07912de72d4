# ImageNet-1K as GFNet was trained on it, following main_gfnet.py and
# datasets.py of https://github.com/raoyongming/GFNet: bicubic crops, no
# erasing.
_base_ = './imagenet_224_dfformer.py'

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomResizedCrop',
        scale=224,
        backend='pillow',
        interpolation='bicubic'),
    # RandomFlip and RandAugment.
    *_base_.train_pipeline[2:4],
    dict(type='PackInputs'),
]
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = 256

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
