# Shape of one class, texture of another: the stimuli of
# https://arxiv.org/abs/1811.12231 in 16 classes. mmpretrain's metric maps the
# 1,000 classes to these 16 as published. tools/analysis_tools/shape_bias.py
# reads the decisions that it writes.
# MODEL is a config of an ImageNet-1K classifier, relative to configs/.
_base_ = '../{{$MODEL:dfformer/dfformer-s18_8xb128_in1k}}.py'

model_name = '{{$MODEL:dfformer/dfformer-s18_8xb128_in1k}}'.split('/')[-1]
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='CustomDataset',
        data_root='data/cue-conflict',
        pipeline={{_base_.test_pipeline}}))
test_evaluator = dict(
    _delete_=True,
    type='ShapeBiasMetric',
    csv_dir='work_dirs/shape_bias',
    model_name=model_name)
