# DFFormer-M36 fine-tuned at 384 pixels, with the recipe of ConvFormer.
_base_ = './dfformer-s18_8xb128_in1k-384px.py'

model = dict(
    backbone=dict(arch='m36', drop_path_rate=0.8),
    head=dict(in_channels=576, dropout=0.5))
load_from = 'mmfft://dfformer-m36_in1k'
