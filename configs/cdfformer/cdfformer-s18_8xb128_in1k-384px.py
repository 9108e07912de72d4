# CDFFormer-S18 fine-tuned at 384 pixels, with the recipe of ConvFormer.
_base_ = '../dfformer/dfformer-s18_8xb128_in1k-384px.py'

model = dict(backbone=dict(type='mmfft.CDFFormer'))
load_from = 'mmfft://cdfformer-s18_in1k'
