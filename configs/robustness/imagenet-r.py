# ImageNet-R, https://arxiv.org/abs/2006.16241: accuracy among its 200 classes.
_base_ = './imagenet-a.py'

test_dataloader = dict(dataset=dict(data_root='data/imagenet-r'))
test_evaluator = dict(subset='imagenet_r')
