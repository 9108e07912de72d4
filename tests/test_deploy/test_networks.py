# Copyright (c) mmfft authors. All rights reserved.
import pytest
import torch
from config_files import load
from random_weights import save_random_weights
from torch import nn

from mmfft.deploy import Classifier, load_network
from mmfft.deploy.networks import AdaptiveAvgPool2d
from mmfft.errors import ConfigError

CLS = 'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py'


@pytest.fixture(scope='module')
def classifier(tmp_path_factory):
    return save_random_weights(load(CLS), tmp_path_factory.mktemp('cls'))


@pytest.mark.parametrize('output_size', [1, 3, 6, (2, 5)])
@pytest.mark.parametrize('size', [(16, 16), (7, 12), (2, 31), (1, 1)])
def test_pooling_by_products(output_size, size):
    x = torch.randn(2, 3, *size)
    torch.testing.assert_close(
        AdaptiveAvgPool2d(output_size)(x),
        nn.AdaptiveAvgPool2d(output_size)(x),
    )


def test_a_classifier_is_loaded_whole(classifier):
    network = load_network(load(CLS), classifier)
    assert isinstance(network, Classifier)
    assert not any(module.training for module in network.modules())
    weights = torch.load(classifier)['state_dict']
    for name, value in network.model.state_dict().items():
        torch.testing.assert_close(value, weights[name])
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network(x)[0], network.model(x))


def test_a_config_of_no_toolbox_is_refused():
    cfg = load(CLS)
    cfg.default_scope = 'mmengine'
    with pytest.raises(ConfigError, match="default_scope='mmengine'"):
        load_network(cfg, 'none.pth')


@pytest.mark.parametrize(
    'change, message',
    [
        (lambda weights: weights.pop('head.fc2.bias'), 'lacks 1 tensors'),
        (
            lambda weights: weights.update({'head.fc2.bias': torch.ones(3)}),
            r'does not fit the config: model.head.num_classes is 10, 3 in the '
            r'file; head.fc2.bias has shape \(3,\), the model \(10,\)',
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    change, message, classifier, tmp_path
):
    weights = torch.load(classifier)['state_dict']
    change(weights)
    torch.save(weights, tmp_path / 'other.pth')
    with pytest.raises(ConfigError, match=message):
        load_network(load(CLS), str(tmp_path / 'other.pth'))
