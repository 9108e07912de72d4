# Oxford Flowers-102 at 224 pixels, with the transforms of GFNet's transfer
# (https://github.com/raoyongming/GFNet, datasets.py). GFNet does not say what
# its training folder contains; here it is the usual 2,040 images of training
# and validation together.
_base_ = './cifar10_224.py'

dataset_type = 'Flowers102'
data_root = 'data/flowers102'
# Images are read from files, as BGR.
data_preprocessor = dict(num_classes=102, to_rgb=True)
bgr_mean = _base_.data_preprocessor.mean[::-1]

train_pipeline = [dict(type='LoadImageFromFile'), *_base_.train_pipeline]
train_pipeline[3].hparams.pad_val = [round(x) for x in bgr_mean]
test_pipeline = [dict(type='LoadImageFromFile'), *_base_.test_pipeline]

train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='trainval',
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        type=dataset_type, data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
