# Copyright (c) mmfft authors. All rights reserved.
import importlib
import subprocess
import sys

import pytest

from mmfft.openmmlab import model_hub


def test_mmpretrain_knows_the_names(tmp_path):
    code = """
import mmfft, mmpretrain
names = mmpretrain.list_models('*dfformer*')
assert {'dfformer-b36_3rdparty_in1k', 'cdfformer-s18_8xb64_cars'} < set(names)
assert not [name for name in names if 'coco' in name or 'ade20k' in name]
assert names == mmpretrain.list_models(
    '*dfformer*', task='Image Classification')
assert 'gfnet-h-ti_3rdparty_in1k' in mmpretrain.list_models('gfnet*')
assert 'resnet50_8xb32_in1k' in mmpretrain.list_models('resnet50*')
model = mmpretrain.get_model('cdfformer-s18_3rdparty_in1k')
assert type(model.backbone) is mmfft.backbones.CDFFormer
assert model._metainfo.weights == 'mmfft://cdfformer-s18_in1k'
"""
    # Elsewhere: what is found shall not hang on the working directory.
    subprocess.run([sys.executable, '-c', code], check=True, cwd=tmp_path)


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module in the place of mmpretrain's, and when models were added."""
    (tmp_path / 'some_hub.py').write_text('class ModelHub:\n    pass\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, 'meta_path', [*sys.meta_path])
    monkeypatch.setattr(model_hub, '_HUB', 'some_hub')
    calls = []

    def register_models():
        # By then the module is complete.
        calls.append(sys.modules['some_hub'].ModelHub)

    monkeypatch.setattr(model_hub, 'register_models', register_models)
    yield calls
    sys.modules.pop('some_hub', None)


def test_imported_before(module):
    importlib.import_module('some_hub')
    model_hub.register_models_with_mmpretrain()
    assert len(module) == 1


def test_imported_after(module):
    finders = list(sys.meta_path)
    model_hub.register_models_with_mmpretrain()
    assert not module
    importlib.import_module('json')
    assert not module
    importlib.import_module('some_hub')
    assert len(module) == 1
    assert sys.meta_path == finders


def test_not_installed(module, monkeypatch):
    monkeypatch.setattr(model_hub, '_HUB', 'no_such_hub')
    model_hub.register_models_with_mmpretrain()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module('no_such_hub')
    assert not module
