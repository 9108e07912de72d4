# ImageNet-Sketch, https://arxiv.org/abs/1905.13549: sketches of the 1,000
# classes.
# MODEL is a config of an ImageNet-1K classifier, relative to configs/.
_base_ = '../{{$MODEL:dfformer/dfformer-s18_8xb128_in1k}}.py'

test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ImageNet',
        data_root='data/imagenet-sketch',
        data_prefix='sketch',
        pipeline={{_base_.test_pipeline}}))
