# Classifier of the MetaFormer family. Configs that inherit from it set the
# class, arch and stochastic depth of the backbone and `head.in_channels`.
model = dict(
    type='ImageClassifier',
    backbone=dict(out_indices=(3, ), out_norm=False),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='mmfft.MlpHead',
        num_classes=1000,
        loss=dict(
            type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')),
    # As published, one of the two for each batch, with equal probability.
    # timm mixes an image with its counterpart in the reversed batch,
    # mmpretrain with any other.
    train_cfg=dict(
        augments=[dict(type='Mixup', alpha=0.8),
                  dict(type='CutMix', alpha=1.0)]))
