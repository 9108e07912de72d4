# ImageNet-A, https://arxiv.org/abs/1907.07174: accuracy among its 200 classes.
# MODEL is a config of an ImageNet-1K classifier, relative to configs/.
_base_ = '../{{$MODEL:dfformer/dfformer-s18_8xb128_in1k}}.py'

test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CustomDataset',
        data_root='data/imagenet-a',
        pipeline={{_base_.test_pipeline}}))
test_evaluator = dict(
    _delete_=True, type='mmfft.SubsetAccuracy', subset='imagenet_a',
    topk=(1, 5))
