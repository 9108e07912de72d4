# Label images of your own: Semantic FPN with a nano CDFFormer.
# docs/how_to/custom_data.md says how to make the label images.
from importlib import import_module

_base_ = [
    '../_base_/models/semantic-fpn.py',
    '../_base_/datasets/own_label_images.py',
    '../_base_/schedules/own_data.py', '../_base_/default_runtime_seg.py'
]

# Edit these three lines, or set them with --cfg-options of tools/train.py.
data_root = 'data/custom'  # with img_dir/{train,val} and ann_dir/{train,val}
classes = None  # their names; None takes the lines of classes.txt
img_size = (512, 512)  # height and width of crops; images are fitted into it

data = import_module('mmfft.datasets.own_data').label_images(
    data_root, classes, img_size)
scale = data['img_size'][::-1]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        type='RandomResize',
        scale=scale,
        ratio_range=(0.5, 2.0),
        keep_ratio=True),
    dict(type='RandomCrop', crop_size=data['img_size'], cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')
]
root = dict(
    data_root=data['data_root'],
    metainfo=data['metainfo'],
    img_suffix=data['img_suffix'])
train_dataloader = dict(
    dataset=dict(pipeline=train_pipeline, **root, **data['train']))
val_dataloader = dict(
    dataset=dict(pipeline=test_pipeline, **root, **data['val']))
test_dataloader = val_dataloader

width = 64
# SyncBN needs a GPU, and batches are small.
norm_cfg = dict(type='GN', num_groups=8, requires_grad=True)
model = dict(
    data_preprocessor=dict(
        size=data['img_size'], test_cfg=dict(size_divisor=32)),
    backbone=dict(
        type='mmfft.CDFFormer', arch='nano', img_size=data['img_size']),
    neck=dict(
        in_channels=[24, 48, 96, 128], out_channels=width, norm_cfg=norm_cfg),
    decode_head=dict(
        in_channels=[width] * 4,
        channels=width,
        num_classes=data['num_classes'],
        norm_cfg=norm_cfg,
        # Pixels without a class do not count.
        loss_decode=dict(avg_non_ignore=True)))

auto_scale_lr = dict(base_batch_size=4, enable=False)
# By epochs, where mmsegmentation's own configs count iterations.
log_processor = dict(by_epoch=True)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=True),
    checkpoint=dict(
        by_epoch=True,
        interval=1,
        max_keep_ckpts=1,
        save_best='mIoU',
        rule='greater'))
# The sizes of images vary in testing.
env_cfg = dict(cudnn_benchmark=False)
randomness = dict(seed=0)
