# DigitScenes, single digits in an ImageNet-style folder, for mmpretrain.
dataset_type = 'CustomDataset'
data_root = 'data/digit_scenes/'
data_preparation = 'python tools/dataset_converters/digit_scenes.py'

data_preprocessor = dict(
    num_classes=10,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True)

# There are only 1,437 digits for training, so they are sheared, rotated a
# little (a 6 must not become a 9) and shifted. They are not flipped, and their
# colours already vary.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='Shear',
        magnitude_range=(0., 0.25),
        prob=0.5,
        random_negative_prob=0.5,
        pad_val=124),
    dict(
        type='Rotate',
        magnitude_range=(0., 10.),
        prob=0.5,
        random_negative_prob=0.5,
        pad_val=124),
    dict(type='RandomCrop', crop_size=64, padding=4, padding_mode='reflect'),
    dict(type='PackInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='PackInputs'),
]
# Rotated a little to both sides instead of mirrored: a mirrored digit is not
# a digit.
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[[
            dict(type='Rotate', angle=float(angle), prob=1., pad_val=124)
            for angle in (0, -7, 7)
        ], [dict(type='PackInputs')]])
]

# mmpretrain's own train and test scripts would add these three settings.
loader = dict(
    pin_memory=True,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'))
# One worker is fast enough. Two would slow down the training threads on two
# cores.
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix='crops/train',
        pipeline=train_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
    **loader)
val_dataloader = dict(
    batch_size=64,
    num_workers=1,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix='crops/val',
        pipeline=test_pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False),
    **loader)
val_evaluator = dict(type='Accuracy', topk=(1, ))

test_dataloader = val_dataloader
test_evaluator = val_evaluator
