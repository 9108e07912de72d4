# Images of several sizes and shapes, so that batches are padded.
_base_ = './cdfformer-nano_fpn_1xb2-2k_digit-scenes-192x256.py'

data_root = 'data/digit_scenes_mixed/scenes/'
data_preparation = (
    'python tools/dataset_converters/digit_scenes.py '
    '--out-dir data/digit_scenes_mixed '
    '--train-scenes 640 --val-scenes 160 --train-crops 0 --val-crops 0 '
    '--scene-size 192 256 --scene-size 160 320 --scene-size 128 192 '
    '--scene-size 208 208 --scene-size 150 250 --scene-size 256 192 '
    '--scene-size 250 150 --scene-size 288 160')
model = dict(
    data_preprocessor=dict(
        size=None, size_divisor=32, test_cfg=dict(size_divisor=32)))
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
