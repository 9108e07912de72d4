# CDFFormer-S18 on ImageNet-1K on one GPU: the gradients of 8 batches
# make a step.
_base_ = [
    '../_base_/models/dfformer_cls.py',
    '../_base_/datasets/imagenet_224_dfformer.py',
    '../_base_/schedules/imagenet_bs1024_dfformer.py',
    '../_base_/default_runtime_cls.py'
]

model = dict(
    backbone=dict(
        type='mmfft.CDFFormer',
        arch='s18',
        drop_path_rate=0.2),
    head=dict(in_channels=512))

optim_wrapper = dict(accumulative_counts=8)
# --auto-scale-lr compares the images of one iteration, not of one step.
auto_scale_lr = dict(base_batch_size=128)
