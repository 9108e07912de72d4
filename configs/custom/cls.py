# Classes of your own, a folder each: a nano CDFFormer.
# docs/how_to/custom_data.md shows the layout of the folders.
from importlib import import_module

_base_ = [
    '../_base_/datasets/own_folders.py', '../_base_/schedules/own_data.py',
    '../_base_/default_runtime_cls.py'
]

# Edit these three lines, or set them with --cfg-options of tools/train.py.
data_root = 'data/custom'  # with train/<class>/ and val/<class>/
classes = None  # their names; None takes those of the folders
img_size = (224, 224)  # height and width to which images are resized

data = import_module('mmfft.datasets.own_data').class_folders(
    data_root, classes, img_size)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='RandomResizedCrop',
        scale=data['img_size'],
        crop_ratio_range=(0.35, 1.0)),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='ColorJitter',
        brightness=0.3,
        contrast=0.3,
        saturation=0.3,
        backend='cv2'),
    dict(type='PackInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=data['img_size'][::-1]),
    dict(type='PackInputs')
]
root = dict(data_root=data['data_root'], metainfo=data['metainfo'])
train_dataloader = dict(
    dataset=dict(pipeline=train_pipeline, **root, **data['train']))
val_dataloader = dict(
    dataset=dict(pipeline=test_pipeline, **root, **data['val']))
test_dataloader = val_dataloader

data_preprocessor = dict(
    num_classes=data['num_classes'],
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True)
model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmfft.CDFFormer',
        arch='nano',
        img_size=data['img_size'],
        out_indices=(3, ),
        out_norm=False),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='mmfft.MlpHead',
        num_classes=data['num_classes'],
        in_channels=128,
        init_cfg=dict(type='mmfft.UnitVariance')))

auto_scale_lr = dict(base_batch_size=16, enable=False)
default_hooks = dict(
    checkpoint=dict(
        max_keep_ckpts=1, save_best='accuracy/top1', rule='greater'))
randomness = dict(seed=0)
