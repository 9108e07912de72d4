# DFFormer-S18 on ImageNet-1K on one GPU: the gradients of 8 batches
# are accumulated for each step.
_base_ = './dfformer-s18_8xb128_in1k.py'

optim_wrapper = dict(accumulative_counts=8)
# --auto-scale-lr counts the images of one iteration, not of one step.
auto_scale_lr = dict(base_batch_size=128)
