# Mask R-CNN with DFFormer-S36 on COCO, three times as long, with layer decay.
_base_ = './mask-rcnn_dfformer-s18_fpn_amp-ms-crop-3x_coco.py'

model = dict(
    backbone=dict(
        arch='s36',
        drop_path_rate=0.3,
        init_cfg=dict(checkpoint='mmfft://dfformer-s36_in1k')))
# 0.99^37 = 0.69 for the stem under 36 blocks.
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.99))
