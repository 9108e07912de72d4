# AdamW over epochs, for 100 to 10,000 images: the learning rate warms up over
# the first epoch, however many iterations that is, and falls to 1e-5 at the
# last one. `train_cfg.max_epochs` alone sets the length.
_base_ = './demo_adamw.py'

train_cfg = dict(by_epoch=True, max_epochs=50, val_interval=5)
val_cfg = dict()
test_cfg = dict()
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        by_epoch=True,
        end=1,
        convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        by_epoch=True,
        eta_min=1e-5,
        convert_to_iter_based=True)
]
