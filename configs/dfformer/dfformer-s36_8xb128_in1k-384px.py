# DFFormer-S36 fine-tuned at 384 pixels, with the recipe of ConvFormer.
_base_ = './dfformer-s18_8xb128_in1k-384px.py'

model = dict(backbone=dict(arch='s36', drop_path_rate=0.5))
load_from = 'mmfft://dfformer-s36_in1k'
