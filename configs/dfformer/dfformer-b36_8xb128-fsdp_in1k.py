# DFFormer-B36 with parameters, gradients and optimizer states sharded over
# the GPUs (PyTorch's FSDP).
_base_ = './dfformer-b36_8xb128_in1k.py'

runner_type = 'FlexibleRunner'
strategy = dict(
    type='FSDPStrategy',
    model_wrapper=dict(
        type='MMFullyShardedDataParallel',
        use_orig_params=True,
        auto_wrap_policy=dict(
            type='torch.distributed.fsdp.wrap.size_based_auto_wrap_policy',
            min_num_params=1000000)),
    # One file that every other run can load.
    state_dict_cfg='full')
optim_wrapper = dict(
    use_fsdp=True,
    # The optimizer only sees shards of one dimension. The parameters that
    # really have one dimension are recognized by name.
    paramwise_cfg=dict(
        _delete_=True,
        norm_decay_mult=0.,
        bias_decay_mult=0.,
        custom_keys={'.scale': dict(decay_mult=0.)}))
