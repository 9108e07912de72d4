# Stylized-ImageNet, https://arxiv.org/abs/1811.12231: the validation
# images with the texture of paintings.
_base_ = './imagenet-sketch.py'

test_dataloader = dict(
    dataset=dict(data_root='data/stylized-imagenet', data_prefix='val'))
