# The longer demo's second part.
_base_ = './mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py'

checkpoint = 'work_dirs/demo-full/cls/epoch_12.pth'
model = dict(backbone=dict(init_cfg=dict(checkpoint=checkpoint)))
max_epochs = 6
train_cfg = dict(max_epochs=max_epochs, val_interval=6)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0,
         end=100),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=0, end=max_epochs,
         T_max=max_epochs, eta_min=1e-5, convert_to_iter_based=True)
]
