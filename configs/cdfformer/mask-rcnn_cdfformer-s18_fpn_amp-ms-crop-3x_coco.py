# Mask R-CNN with CDFFormer-S18 on COCO, three times as long, with layer decay.
_base_ = [
    '../_base_/models/mask-rcnn_fpn.py',
    '../_base_/datasets/coco_instance_ms-crop.py',
    '../_base_/schedules/coco_3x_layer-decay.py',
    '../_base_/default_runtime_det.py'
]

model = dict(
    backbone=dict(
        type='mmfft.CDFFormer',
        arch='s18',
        img_size=800,
        drop_path_rate=0.2,
        init_cfg=dict(
            type='Pretrained', checkpoint='mmfft://cdfformer-s18_in1k')),
    neck=dict(in_channels=[64, 128, 320, 512]))
# 0.98^19 = 0.68 for the stem under 18 blocks.
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.98))
