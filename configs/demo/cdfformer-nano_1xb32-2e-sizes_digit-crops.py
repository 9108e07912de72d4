# The demo's classifier goes on at several sizes, so that it knows them.
_base_ = './cdfformer-nano_1xb32-6e_digit-crops.py'

load_from = 'work_dirs/demo/cls/epoch_6.pth'
train_dataloader = dict(
    collate_fn=dict(
        type='mmfft.collate_at_random_size',
        sizes=[48, 56, 64, 64, 72, 80, 96]))
optim_wrapper = dict(optimizer=dict(lr=2.5e-4))
max_epochs = 2
train_cfg = dict(max_epochs=max_epochs)
param_scheduler = [
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        begin=0,
        T_max=max_epochs,
        eta_min=1e-5,
        convert_to_iter_based=True)
]
