# Copyright (c) mmfft authors. All rights reserved.
"""Small detectors that are sure of what they find, with random weights."""

import torch
from config_files import load
from mmengine.registry import MODELS, init_default_scope

ARCH = dict(embed_dims=[8, 8, 8, 8], depths=[1, 1, 1, 1])
MASK_RCNN = 'configs/cdfformer/mask-rcnn_cdfformer-s18_fpn_1x_coco.py'
RETINANET = 'configs/cdfformer/retinanet_cdfformer-s18_fpn_1x_coco.py'
CLASSES = 3


def retinanet():
    """Config of a RetinaNet."""
    cfg = load(RETINANET)
    _shrink(cfg, levels=3)
    cfg.model.bbox_head.update(
        in_channels=8, feat_channels=8, num_classes=CLASSES, stacked_convs=1
    )
    # Few enough to matter.
    cfg.model.test_cfg.update(nms_pre=150, max_per_img=40)
    return cfg


def mask_rcnn(masks=True):
    """Config of a Mask R-CNN, or of a Faster R-CNN."""
    cfg = load(MASK_RCNN)
    _shrink(cfg, levels=4)
    model = cfg.model
    model.rpn_head.update(in_channels=8, feat_channels=8)
    heads = model.roi_head
    heads.bbox_roi_extractor.out_channels = 8
    heads.bbox_head.update(
        in_channels=8, fc_out_channels=16, num_classes=CLASSES
    )
    heads.mask_roi_extractor.out_channels = 8
    heads.mask_head.update(
        in_channels=8, conv_out_channels=8, num_convs=1, num_classes=CLASSES
    )
    model.test_cfg.rpn.update(nms_pre=60, max_per_img=40)
    model.test_cfg.rcnn.update(max_per_img=20)
    if not masks:
        model.type = 'FasterRCNN'
        for key in ('mask_head', 'mask_roi_extractor'):
            heads.pop(key)
    return cfg


def _shrink(cfg, levels):
    cfg.model.backbone.update(arch=ARCH, img_size=64)
    cfg.model.neck.update(in_channels=[8] * levels, out_channels=8)


# Layers that end in scores or deltas, with the mean and the spread that they
# get.
ENDS = {
    'bbox_head.retina_cls': (-3, 1.5),
    'bbox_head.retina_reg': (0, 0.2),
    'rpn_head.rpn_cls': (-3, 1.5),
    'rpn_head.rpn_reg': (0, 0.2),
    'roi_head.bbox_head.fc_cls': (0, 2),
    'roi_head.bbox_head.fc_reg': (0, 0.5),
    'roi_head.mask_head.conv_logits': (0, 2),
}


def save_sure_weights(cfg, folder):
    """Save random weights with which scores differ; return the path.

    As they are initialized, heads give all boxes the same score.
    """
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).eval()
    # One by one: the second stage depends on the first.
    for name, layer in model.named_modules():
        if name in ENDS:
            seen = []
            hook = layer.register_forward_hook(
                lambda layer, inputs, out, seen=seen: seen.append(out.std())
            )
            predict(model, torch.randn(1, 3, 101, 135))
            hook.remove()
            with torch.no_grad():
                mean, std = ENDS[name]
                layer.weight *= std / seen[0]
                layer.bias.fill_(mean)
    path = folder / 'sure.pth'
    torch.save(dict(state_dict=model.state_dict()), path)
    return str(path)


def predict(model, image, inner=None):
    """What mmdet itself finds in a batch of prepared images."""
    from mmdet.structures import DetDataSample

    size = tuple(inner or image.shape[2:])
    meta = dict(img_shape=size, ori_shape=size, scale_factor=(1.0, 1.0))
    samples = [DetDataSample(metainfo=meta) for _ in image]
    with torch.no_grad():
        found = model.predict(image, samples)
    return [sample.pred_instances for sample in found]
