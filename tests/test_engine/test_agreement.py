# Copyright (c) mmfft authors. All rights reserved.
import pytest
from config_files import load
from conftest import ROOT, small_data
from mmengine.fileio import dump
from mmengine.fileio import load as read
from mmengine.logging import MMLogger

from mmfft.engine import check_agreement, find_disagreements, load_config
from mmfft.errors import ConfigError

DEMO = 'configs/demo/'
CLS = DEMO + 'cdfformer-nano_1xb32-6e_digit-crops.py'
DET = DEMO + 'mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py'
SEG = DEMO + 'cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'
MIXUP = 'configs/gfnet/gfnet-xs_8xb64_cifar10.py'
RETINA = 'configs/gfnet/retinanet_gfnet-h-ti_fpn_1x_coco.py'
UPER = 'configs/gfnet/gfnet-h-ti_upernet_8xb2-160k_ade20k-512x512.py'
FPN = 'configs/gfnet/gfnet-h-ti_fpn_8xb4-40k_ade20k-512x512.py'


def changed(config, changes):
    cfg = load(config)
    cfg.merge_from_dict(changes)
    return cfg


def said(config, changes, certain=True):
    found = find_disagreements(changed(config, changes), ('train', 'val'))
    return [f'{d.where}: {d.what}' for d in found if d.certain == certain]


# Each kind of model, and each data set; others differ in numbers only.
GOOD = [
    CLS,
    DET,
    SEG,
    MIXUP,
    RETINA,
    UPER,
    'configs/dfformer/dfformer-s18_8xb128_in1k.py',
    'configs/dfformer/mask-rcnn_dfformer-s18_fpn_1x_coco.py',
    'configs/cdfformer/cdfformer-s18_fpn_8xb4-40k_ade20k-512x512.py',
    'configs/gfnet/gfnet-xs_8xb64_cars.py',
    'configs/gfnet/gfnet-xs_8xb64_flowers102.py',
    'configs/robustness/imagenet-r.py',
]


@pytest.mark.parametrize('config', GOOD)
def test_our_configs_agree_with_themselves(config):
    cfg = changed(config, dict(launcher='pytorch'))
    assert find_disagreements(cfg) == []


CASES = {
    'workers that a loader does not have': (
        CLS,
        {
            'val_dataloader.num_workers': 0,
            'val_dataloader.persistent_workers': True,
        },
        'val_dataloader.persistent_workers: True needs workers, and '
        'num_workers is 0: set persistent_workers=False, or',
    ),
    'a training as long as its warm-up': (
        CLS,
        {'train_cfg.max_epochs': 1},
        'param_scheduler[1]: begin=1, end=1 (of the training): the end must',
    ),
    'classes of a head': (
        DET,
        {'model.roi_head.bbox_head.num_classes': 80},
        'model.roi_head.bbox_head.num_classes: 80, but '
        "train_dataloader.dataset has 10 classes ('0', '1', '2', ...): set "
        'num_classes=10',
    ),
    'classes of the mask head': (
        DET,
        {'model.roi_head.mask_head.num_classes': 3},
        'model.roi_head.mask_head.num_classes: 3, but ',
    ),
    'metainfo is missing': (
        RETINA,
        {'model.bbox_head.num_classes': 3},
        'model.bbox_head.num_classes: 3, but train_dataloader.dataset has no '
        'metainfo and so the 80 classes of CocoDataset itself: give it '
        'metainfo=dict(classes=(...))',
    ),
    'classes of an auxiliary head': (
        UPER,
        {'model.auxiliary_head.num_classes': 19},
        'model.auxiliary_head.num_classes: 19, but ',
    ),
    'a comma is missing': (
        DET,
        {'train_dataloader.dataset.metainfo.classes': 'digit'},
        "train_dataloader.dataset.metainfo.classes: 'digit' is a text or the "
        "path of a file that does not exist; write one class as ('digit',)",
    ),
    'order of classes': (
        DET,
        {'val_dataloader.dataset.metainfo.classes': tuple('1023456789')},
        'val_dataloader.dataset.metainfo.classes: has the classes of '
        "train_dataloader.dataset in another order: class 0 is '1' instead "
        "of '0'",
    ),
    'top 5 of 3': (
        CLS,
        {
            'model.head.num_classes': 3,
            'data_preprocessor.num_classes': 3,
            'val_evaluator': [
                dict(type='Accuracy', topk=(1, 5)),
                dict(type='SingleLabelMetric'),
            ],
        },
        'val_evaluator[0].topk: (1, 5) of only 3 classes: set topk=(1,)',
    ),
    'top 5 of the head': (
        MIXUP,
        {'model.head.cal_acc': True, 'model.head.topk': (1, 20)},
        'model.head.topk: (1, 20) of only 10 classes',
    ),
    'mixed labels': (
        MIXUP,
        {'data_preprocessor.num_classes': 1000},
        'data_preprocessor.num_classes: 1000, but the head has 10 classes',
    ),
    'mixed labels of no size': (
        MIXUP,
        {'data_preprocessor.num_classes': None},
        'data_preprocessor.num_classes: is not set, but Mixup, CutMix',
    ),
    'Mixup of an old recipe': (
        MIXUP,
        {
            'model.train_cfg.augments': [
                dict(type='Mixup', alpha=0.8, num_classes=1000)
            ]
        },
        'model.train_cfg.augments: Mixup takes no num_classes=1000',
    ),
    'classes of a loss': (
        MIXUP,
        {'model.head.loss.num_classes': 1000},
        'model.head.loss.num_classes: 1000, but the head has 10',
    ),
    'weights of classes': (
        SEG,
        {'model.decode_head.loss_decode.class_weight': [1.0, 2.0]},
        'model.decode_head.loss_decode.class_weight: has 2 weights for 11',
    ),
    'weights of classes, and pixels that do not count': (
        SEG,
        {'model.decode_head.loss_decode.avg_non_ignore': True},
        'model.decode_head.loss_decode.avg_non_ignore: True, which this '
        'mmsegmentation cannot compute together with class_weight',
    ),
    'ignored by the head only': (
        SEG,
        {'model.decode_head.ignore_index': 0},
        'val_evaluator.ignore_index: 255, but model.decode_head.ignore_index '
        'is 0',
    ),
    'ignored by the data set only': (
        SEG,
        {'train_dataloader.dataset.ignore_index': 0},
        'model.decode_head.ignore_index: 255, but train_dataloader.dataset '
        'ignores 0',
    ),
    'label 0 in the pipeline': (
        FPN,
        {'train_dataloader.dataset.reduce_zero_label': False},
        'train_dataloader.dataset.reduce_zero_label: False, but '
        'LoadAnnotations of its pipeline has True',
    ),
    'label 0 in validation': (
        SEG,
        {'val_dataloader.dataset.reduce_zero_label': True},
        'val_dataloader.dataset.reduce_zero_label: True, but '
        'train_dataloader.dataset has False: the labels differ by one',
    ),
    'softmax of one channel': (
        SEG,
        {'model.decode_head.num_classes': 1},
        'model.decode_head.loss_decode.use_sigmoid: False, but the softmax',
    ),
    'one class only': (
        SEG,
        {
            'train_dataloader.dataset.metainfo.classes': ('digit',),
            'train_dataloader.dataset.metainfo.palette': [[0, 0, 0]],
        },
        "train_dataloader.dataset.metainfo.classes: has only 'digit'",
    ),
    'colours of classes': (
        SEG,
        {'train_dataloader.dataset.metainfo.palette': [[0, 0, 0]]},
        'train_dataloader.dataset.metainfo.palette: has 1 colours for 11',
    ),
    'masks that nothing predicts': (
        DET,
        {'model.roi_head.mask_head': None},
        "val_evaluator.metric: ['bbox', 'segm'], but the model has no "
        "mask_head: set metric='bbox'",
    ),
    'masks that are not loaded': (
        DET,
        {'train_dataloader.dataset.pipeline.1.with_mask': False},
        'train_dataloader.dataset.pipeline: LoadAnnotations loads no masks',
    ),
    'channels of the image': (
        SEG,
        {'model.backbone.in_channels': 4},
        'data_preprocessor.mean: has 3 values, but '
        'model.backbone.in_channels is 4: set mean=None and std=None there',
    ),
    'channels of the image of a classifier': (
        CLS,
        {'model.backbone.in_channels': 4},
        'data_preprocessor.mean: has 3 values, but '
        'model.backbone.in_channels is 4: give mean and std 4 values each',
    ),
    'channels of the neck': (
        DET,
        {'model.neck.in_channels': [64, 128, 320, 512]},
        'model.neck.in_channels: [64, 128, 320, 512] does not fit '
        'model.backbone (out_indices=(0, 1, 2, 3)), whose outputs have '
        '[24, 48, 96, 128] channels: set in_channels=[24, 48, 96, 128]',
    ),
    'levels of the backbone': (
        RETINA,
        {'model.backbone.out_indices': (0, 1, 2, 3)},
        'set in_channels=[64, 128, 256, 512] or '
        'backbone.out_indices=(1, 2, 3)',
    ),
    'channels of a segmentor': (
        UPER,
        {'model.decode_head.in_channels': [96, 192, 384, 768]},
        'model.decode_head.in_channels: [96, 192, 384, 768] does not fit',
    ),
    'channels of a classifier': (
        CLS,
        {'model.head.in_channels': 512},
        'model.head.in_channels: 512 does not fit model.neck, whose outputs '
        'have 128 channels: set in_channels=128',
    ),
    'levels of a segmentor': (
        UPER,
        {'model.backbone.out_indices': (1, 2, 3)},
        'model.decode_head.in_index: [0, 1, 2, 3] asks for output 3, but '
        'model.backbone (out_indices=(1, 2, 3)) has 3',
    ),
}


@pytest.mark.parametrize('name', CASES)
def test_what_does_not_fit(name):
    config, changes, expected = CASES[name]
    assert any(expected in line for line in said(config, changes)), said(
        config, changes
    )


DOUBTS = {
    'other classes in validation': (
        DET,
        {'val_dataloader.dataset.metainfo.classes': tuple('012345678x')},
        "val_dataloader.dataset.metainfo.classes: class 9 is 'x', but in "
        "train_dataloader.dataset '9'",
    ),
    'a class twice': (
        DET,
        {'train_dataloader.dataset.metainfo.classes': tuple('0123456788')},
        "train_dataloader.dataset.metainfo.classes: has ['8'] more than once",
    ),
    'padding that is learnt': (
        SEG,
        {'model.data_preprocessor.seg_pad_val': 0},
        'model.data_preprocessor.seg_pad_val: 0, but '
        'model.decode_head.ignore_index is 255',
    ),
}


@pytest.mark.parametrize('name', DOUBTS)
def test_what_may_be_wrong(name):
    config, changes, expected = DOUBTS[name]
    assert said(config, changes) == []
    found = said(config, changes, certain=False)
    assert any(expected in line for line in found), found


def test_schedules_of_several_optimizers():
    cfg = load(CLS)
    whole, late = dict(type='PolyLR'), dict(type='PolyLR', begin=4, end=3)
    cfg.param_scheduler = dict(a=[whole], b=[whole, late])
    (one,) = find_disagreements(cfg, ('train',))
    assert one.where == 'param_scheduler.b[1]'
    assert one.what.startswith('begin=4, end=3: the end must come after')


UNUSED = {
    'neck': (
        DET,
        {'model.backbone.frozen_stages': -1},
        'set out_indices=(1, 2, 3), neck.in_channels=[48, 96, 128], '
        'neck.start_level=0; or find_unused_parameters=True',
    ),
    'heads': (
        UPER,
        {
            'model.decode_head.in_index': [1, 2, 3],
            'model.decode_head.in_channels': [128, 256, 512],
        },
        'set out_indices=(1, 2, 3), decode_head.in_index=[0, 1, 2], '
        'auxiliary_head.in_index=1; or',
    ),
    'classifier': (
        CLS,
        {
            'model.backbone.out_indices': (2, 3),
            'model.backbone.out_norm': True,
        },
        'set out_indices=(3,); or',
    ),
}


@pytest.mark.parametrize('name', UNUSED)
def test_outputs_that_nothing_uses(name):
    """DistributedDataParallel would stop; one process trains."""
    config, changes, expected = UNUSED[name]
    assert said(config, changes) == []
    changes = {**changes, 'launcher': 'pytorch'}
    (line,) = said(config, changes)
    assert line.startswith('model.backbone.out_indices: ')
    assert expected in line
    assert said(config, {**changes, 'find_unused_parameters': True}) == []
    wrapper = dict(
        type='MMDistributedDataParallel', find_unused_parameters=True
    )
    assert said(config, {**changes, 'model_wrapper_cfg': wrapper}) == []


def test_outputs_without_weights_may_stay_unused():
    changes = {'model.backbone.out_indices': (2, 3), 'launcher': 'pytorch'}
    assert said(CLS, changes) == []


BINARY = dict(classes=('other', 'digit'), palette=[[0, 0, 0], [1, 1, 1]])
SIGMOID = dict(type='CrossEntropyLoss', use_sigmoid=True)


@pytest.mark.parametrize(
    'config, changes',
    [
        # One channel for two classes, as mmseg advises.
        (
            SEG,
            {
                'train_dataloader.dataset.metainfo': BINARY,
                'val_dataloader.dataset.metainfo': BINARY,
                'model.decode_head.num_classes': 2,
                'model.decode_head.out_channels': 1,
                'model.decode_head.loss_decode': {
                    **SIGMOID,
                    'class_weight': None,
                },
            },
        ),
        # Pixels of a class that are not measured.
        (SEG, {'val_evaluator.ignore_index': 0}),
        (SEG, {'model.decode_head.num_classes': 12}),
        (SEG, {'val_evaluator': None, 'val_dataloader': None}),
        (
            CLS,
            {
                'model.head.type': 'MultiLabelLinearClsHead',
                'model.head.loss': SIGMOID,
                'val_evaluator.type': 'MultiLabelMetric',
                'val_evaluator.topk': None,
            },
        ),
        (CLS, {'val_evaluator.num_classes': 4}),
        # Without batch augments nothing reads it.
        (CLS, {'data_preprocessor.num_classes': 1000}),
        (DET, {'default_scope': None}),
        (CLS, {'model.backbone.type': 'Gone'}),
    ],
)
def test_what_may_be_meant_so(config, changes):
    if 'model.decode_head.num_classes' in changes:
        weight = 'model.decode_head.loss_decode.class_weight'
        changes = {weight: None, **changes}
    assert said(config, changes) == []


def test_classes_that_are_folders(digit_scenes):
    options = {
        'train_dataloader.dataset.data_root': str(digit_scenes),
        'model.head.num_classes': 4,
    }
    assert said(CLS, options) == [
        'model.head.num_classes: 4, but train_dataloader.dataset has 10 '
        "classes ('0', '1', '2', ...): set num_classes=10"
    ]
    # A head may have more.
    options['model.head.num_classes'] = 12
    assert said(CLS, options) == []
    (line,) = said(CLS, options, certain=False)
    assert 'set num_classes=10' in line


def test_truth_of_other_images(digit_scenes, tmp_path):
    folder = digit_scenes / 'scenes' / 'annotations'
    truth = folder / 'instances_validation.json'
    options = {
        'val_dataloader.dataset.data_root': str(digit_scenes / 'scenes')
    }

    def evaluate_on(path):
        return said(DET, {**options, 'val_evaluator.ann_file': str(path)})

    assert evaluate_on(truth) == []
    (line,) = evaluate_on(folder / 'instances_training.json')
    assert line.startswith('val_evaluator.ann_file: ')
    assert 'has 8 images' in line and f"set it to '{truth}'" in line
    # A copy describes the same images.
    copy = tmp_path / 'copy.json'
    dump(read(str(truth)), str(copy))
    assert evaluate_on(copy) == []


def test_one_line_for_each(tmp_path, digit_scenes, call_tool, capsys):
    wrong = [
        'model.head.in_channels=100',
        'val_evaluator.topk=(1,20)',
    ]
    options = small_data('mmpretrain', digit_scenes)
    with pytest.raises(SystemExit) as end:
        call_tool(
            'train.py',
            ROOT / CLS,
            '--cfg-options',
            *options,
            *wrong,
            cwd=tmp_path,
        )
    assert end.value.code == 2
    first, second = capsys.readouterr().err.strip().splitlines()
    assert first.startswith('train.py: error: model.head.in_channels: 100 ')
    assert second.startswith('  val_evaluator.topk: (1, 20) ')
    assert not list(tmp_path.iterdir())


def test_doubts_are_logged(caplog):
    cfg = load_config(str(ROOT / CLS))
    cfg.data_preprocessor.num_classes = 1000
    logger = MMLogger.get_instance('agreement')
    logger.addHandler(caplog.handler)
    check_agreement(cfg)
    assert 'data_preprocessor.num_classes: 1000' in caplog.text
    cfg.val_evaluator.topk = 11
    with pytest.raises(ConfigError, match='11 of only 10 classes'):
        check_agreement(cfg)
