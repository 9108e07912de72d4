# Masks of your own objects, in COCO's form: Mask R-CNN with a nano CDFFormer.
# docs/how_to/custom_data.md says how to make train.json and val.json.
from importlib import import_module

_base_ = [
    '../_base_/models/mask-rcnn_fpn.py', '../_base_/datasets/own_coco.py',
    '../_base_/schedules/own_data.py', '../_base_/default_runtime_det.py'
]

# Edit these three lines, or set them with --cfg-options of tools/train.py.
data_root = 'data/custom'  # folder with train.json and val.json
classes = None  # their names; None takes those of train.json
img_size = (512, 512)  # height and width within which images are fitted

data = import_module('mmfft.datasets.own_data').coco(
    data_root, classes, img_size)
scale = data['img_size'][::-1]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='RandomResize',
        scale=scale,
        ratio_range=(0.8, 1.25),
        keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=scale, keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                   'scale_factor'))
]
root = dict(data_root=data['data_root'], metainfo=data['metainfo'])
train_dataloader = dict(
    dataset=dict(pipeline=train_pipeline, **root, **data['train']))
val_dataloader = dict(
    dataset=dict(pipeline=test_pipeline, **root, **data['val']))
test_dataloader = val_dataloader
val_evaluator = dict(
    ann_file=data['data_root'] + '/' + data['val']['ann_file'],
    metric=['bbox', 'segm'])
test_evaluator = val_evaluator

width = 64
model = dict(
    backbone=dict(
        type='mmfft.CDFFormer', arch='nano', img_size=data['img_size']),
    neck=dict(in_channels=[24, 48, 96, 128], out_channels=width),
    rpn_head=dict(in_channels=width, feat_channels=width),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=width),
        bbox_head=dict(
            in_channels=width,
            fc_out_channels=256,
            num_classes=data['num_classes']),
        mask_roi_extractor=dict(out_channels=width),
        mask_head=dict(
            num_convs=2,
            in_channels=width,
            conv_out_channels=width,
            num_classes=data['num_classes'])))

auto_scale_lr = dict(base_batch_size=4, enable=False)
default_hooks = dict(
    checkpoint=dict(
        max_keep_ckpts=1, save_best='coco/segm_mAP', rule='greater'))
randomness = dict(seed=0)
