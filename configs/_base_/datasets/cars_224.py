# Stanford Cars at 224 pixels.
_base_ = './flowers102_224.py'

dataset = dict(type='StanfordCars', data_root='data/stanford_cars')
data_preprocessor = dict(num_classes=196)
train_dataloader = dict(dataset=dict(split='train', **dataset))
val_dataloader = dict(dataset=dataset)
test_dataloader = val_dataloader
