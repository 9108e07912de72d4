# RetinaNet as published in detection/configs of
# https://github.com/okojoalg/dfformer: weight decay on everything, including
# norms and biases. PyTorch's mixed precision replaces apex O1.
_base_ = './coco_1x.py'

optim_wrapper = dict(
    type='AmpOptimWrapper', optimizer=dict(lr=1e-4, weight_decay=0.05))
