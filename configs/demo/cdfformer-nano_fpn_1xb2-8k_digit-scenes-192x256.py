# The longer demo's third part.
_base_ = './cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'

checkpoint = 'work_dirs/demo-full/cls/epoch_12.pth'
model = dict(
    backbone=dict(init_cfg=dict(checkpoint=checkpoint)),
    # There is time for the background, too.
    decode_head=dict(loss_decode=dict(class_weight=[0.7] + [1.] * 10)))
max_iters = 8000
train_cfg = dict(max_iters=max_iters, val_interval=8000)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0,
         end=200),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end=max_iters,
         T_max=max_iters, eta_min=1e-5)
]
