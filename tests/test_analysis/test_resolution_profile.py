# Copyright (c) mmfft authors. All rights reserved.
import pytest
import torch
from config_files import ROOT

from mmfft.analysis import resolution_profile
from mmfft.analysis.resolution_profile import plot_profile, run_profile
from mmfft.models.base import FourierBackbone

CLS = str(ROOT / 'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py')


@pytest.fixture
def measured(monkeypatch):
    """What was measured, by name and size of the images."""
    calls = []
    compare = resolution_profile.compare

    def spy(contenders, device, rounds, capture):
        calls.extend(contenders)
        return compare(contenders, device, rounds, capture)

    monkeypatch.setattr(resolution_profile, 'compare', spy)
    return calls


def test_only_what_is_missing_is_measured(measured, tmp_path):
    first = run_profile([CLS], [64, 192], tmp_path, rounds=1)
    assert measured == [CLS, CLS]
    small, large = first
    assert (small['size'], large['size']) == ('64', '192')
    # What does not grow with the image, as rearranged weights, is small.
    assert 1.5 < large['memory'] / small['memory'] < 9
    assert small['images_per_second'] > 0

    measured.clear()
    again = run_profile([CLS, 'resnet18'], [192, 64], tmp_path, rounds=1)
    assert measured == ['resnet18', 'resnet18']
    assert [row for row in again if row['model'] == CLS] == first

    measured.clear()
    train = run_profile([CLS], [64], tmp_path, train=True, rounds=1)
    assert measured == [CLS]
    # Activations are kept for the backward pass.
    assert train[0]['memory'] > 1.5 * small['memory']
    assert len(run_profile([CLS], [64], tmp_path, rounds=1)) == 1
    plot_profile(again, tmp_path / 'profile.png')
    assert (tmp_path / 'profile.png').stat().st_size > 1000


def test_out_of_memory_is_a_result(monkeypatch, tmp_path):
    def compare(contenders, device, rounds, capture):
        return {name: dict(error='out of memory') for name in contenders}

    monkeypatch.setattr(resolution_profile, 'compare', compare)
    (row,) = run_profile([CLS], [32], tmp_path)
    assert row['images_per_second'] is None and row['memory'] is None
    monkeypatch.setattr(resolution_profile, 'compare', None)
    assert run_profile([CLS], [32], tmp_path) == [row]
    plot_profile([row], tmp_path / 'profile.png')


def test_other_failures_are_no_results(monkeypatch, tmp_path):
    features = resolution_profile.last_features

    def fail(model, images):
        if isinstance(model, FourierBackbone):
            return features(model, images)
        raise ValueError('no such layer')

    monkeypatch.setattr(resolution_profile, 'last_features', fail)
    with pytest.raises(RuntimeError, match='(?s)resnet18 at 32:.*no such lay'):
        run_profile([CLS, 'resnet18'], [32], tmp_path, rounds=1)
    # The other one is kept.
    monkeypatch.setattr(resolution_profile, 'compare', None)
    (row,) = run_profile([CLS], [32], tmp_path)
    assert float(row['images_per_second']) > 0


def test_the_call_is_a_training_step():
    model = torch.nn.Conv2d(3, 2, 1)
    model.zero_grad = lambda: None  # it would leave none
    images = torch.randn(1, 3, 4, 4)
    resolution_profile._call(model, images, False)()
    assert model.weight.grad is None and not model.training
    resolution_profile._call(model, images, True)()
    expected = images.mean((2, 3))[0] / 2
    torch.testing.assert_close(model.weight.grad[0, :, 0, 0], expected)


def test_the_tool(call_tool, tmp_path, capsys):
    def run():
        call_tool(
            'analysis_tools/resolution_profile.py', '--models', CLS,
            '--sizes', 32, '--rounds', 1, '--device', 'cpu', '--out', 'out',
            cwd=tmp_path,
        )  # fmt: skip
        return capsys.readouterr().out

    first = run()
    assert f'32: {CLS}' in first.splitlines()
    # Again, from what was kept.
    again = run()
    assert again == first.replace(f'32: {CLS}\n', '')
    assert 'images/s' in again
    assert (tmp_path / 'out' / 'profile.png').exists()
