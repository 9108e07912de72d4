# Fine-tuning at 384 pixels. Nothing was published for DFFormer and CDFFormer.
# This is the recipe of their closest relative, scripts/convformer/finetune_*
# of https://github.com/sail-sg/metaformer: a constant rate for 30 epochs.
# Mixed precision comes from the DFFormer family's own recipe.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(
        type='AdamW', lr=5e-5, weight_decay=0.05, eps=1e-8,
        betas=(0.9, 0.999)),
    paramwise_cfg=dict(
        norm_decay_mult=0., bias_decay_mult=0., flat_decay_mult=0.))
param_scheduler = []
train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=1)
val_cfg = dict()
test_cfg = dict()
auto_scale_lr = dict(base_batch_size=1024, enable=False)

# timm's EMA decay of 0.9999.
custom_hooks = [dict(type='EMAHook', momentum=1e-4)]
