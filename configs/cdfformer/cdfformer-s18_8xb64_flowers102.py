# CDFFormer-S18 on Flowers-102, with GFNet's recipe: this family has none.
_base_ = '../dfformer/dfformer-s18_8xb64_flowers102.py'

model = dict(
    backbone=dict(
        type='mmfft.CDFFormer',
        init_cfg=dict(checkpoint='mmfft://cdfformer-s18_in1k')))
