# CDFFormer-S18 on ImageNet-1K on one GPU: the gradients of 8 batches
# are accumulated for each step.
_base_ = '../dfformer/dfformer-s18_1xb128-accum8_in1k.py'

model = dict(backbone=dict(type='mmfft.CDFFormer'))
