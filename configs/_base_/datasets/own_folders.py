# Loaders for a folder a class, for mmpretrain. Configs that inherit from it
# set the data set and the pipelines.
# mmpretrain's own train and test scripts would add these three settings.
loader = dict(
    pin_memory=True,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'))
train_dataloader = dict(
    batch_size=16,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset'),
    **loader)
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset'),
    **loader)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, ))
test_evaluator = val_evaluator
