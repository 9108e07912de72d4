# The demo's detector goes on at several sizes, so that it knows them.
_base_ = './mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py'

load_from = 'work_dirs/demo/det/epoch_3.pth'
model = dict(backbone=dict(init_cfg=None))
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(ratio_range=(0.6, 2.0))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
optim_wrapper = dict(optimizer=dict(lr=3e-4))
max_epochs = 1
train_cfg = dict(max_epochs=max_epochs, val_interval=1)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        T_max=max_epochs,
        eta_min=1e-5,
        convert_to_iter_based=True)
]
