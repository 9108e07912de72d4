# The longer demo's first part.
_base_ = './cdfformer-nano_1xb32-6e_digit-crops.py'

model = dict(
    head=dict(
        loss=dict(
            type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')))
# Each crop is sheared and rotated, not every second one.
train_pipeline = _base_.train_pipeline
train_pipeline[1].update(prob=1.)
train_pipeline[2].update(prob=1.)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
max_epochs = 12
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=True, end=1,
         convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=1,
         T_max=max_epochs - 1, eta_min=1e-5, convert_to_iter_based=True)
]
