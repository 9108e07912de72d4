# RetinaNet as published, detection/configs of
# https://github.com/okojoalg/dfformer: weight decay on everything, norms and
# biases too. Its mixed precision (apex O1) is PyTorch's here.
_base_ = './coco_1x.py'

optim_wrapper = dict(
    type='AmpOptimWrapper', optimizer=dict(lr=1e-4, weight_decay=0.05))
