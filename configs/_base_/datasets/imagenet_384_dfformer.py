# ImageNet-1K at 384 pixels for the DFFormer family.
_base_ = './imagenet_224_dfformer.py'

train_pipeline = _base_.train_pipeline
train_pipeline[1].transforms[0][0].scale = 384
train_pipeline[1].transforms[1][0].scale = 384
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = 384
test_pipeline[2].crop_size = 384

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
