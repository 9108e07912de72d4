# Images of several sizes and shapes, so that batches are padded. Each keeps
# its size.
_base_ = './mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py'

data_root = 'data/digit_scenes_mixed/scenes/'
data_preparation = (
    'python tools/dataset_converters/digit_scenes.py '
    '--out-dir data/digit_scenes_mixed '
    '--train-scenes 640 --val-scenes 160 --train-crops 0 --val-crops 0 '
    '--scene-size 192 256 --scene-size 160 320 --scene-size 128 192 '
    '--scene-size 208 208 --scene-size 150 250 --scene-size 256 192 '
    '--scene-size 250 150 --scene-size 288 160')
own_size = dict(type='Resize', scale_factor=1.0, keep_ratio=True)
train_pipeline = _base_.train_pipeline
train_pipeline[2] = own_size
test_pipeline = _base_.test_pipeline
test_pipeline[1] = own_size
train_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(
    ann_file=data_root + 'annotations/instances_validation.json')
test_evaluator = val_evaluator
