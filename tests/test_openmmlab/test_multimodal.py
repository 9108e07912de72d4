# Copyright (c) mmfft authors. All rights reserved.
"""mmpretrain beside transformers 5."""

import os
import subprocess
import sys
from importlib import import_module

import pytest
from mmengine.registry import Registry

from mmfft.errors import ConfigError
from mmfft.openmmlab.multimodal import leave_multimodal_out

DEPENDENCY = 'mmpretrain.utils.dependency'


@pytest.fixture
def install(tmp_path):
    """A function to put the metadata of a transformers into a folder."""

    def install(transformers):
        info = tmp_path / f'transformers-{transformers}.dist-info'
        info.mkdir()
        (info / 'METADATA').write_text(
            f'Metadata-Version: 2.1\nName: transformers\n'
            f'Version: {transformers}\n'
        )
        return tmp_path

    return install


@pytest.fixture
def dependency(monkeypatch, install):
    """A function to import mmpretrain's module beside a transformers."""
    import_module(DEPENDENCY)

    def load(transformers):
        monkeypatch.syspath_prepend(install(transformers))
        monkeypatch.delitem(sys.modules, DEPENDENCY)
        leave_multimodal_out()
        return import_module(DEPENDENCY)

    return load


def test_beside_transformers_5_multimodal_models_are_refused(dependency):
    module = dependency('5.17.0')
    assert not module.WITH_MULTIMODAL
    models = Registry('model')
    module.register_multimodal_placeholder(['BlipVQA', 'Flamingo'], models)
    for name in ('BlipVQA', 'Flamingo'):
        with pytest.raises(ConfigError) as error:
            models.build(dict(type=name))
        assert f"type='{name}': transformers 5.17.0" in str(error.value)
        assert "pip install 'transformers<5'" in str(error.value)


def test_beside_transformers_4_nothing_changes(dependency):
    module = dependency('4.57.1')
    assert module.WITH_MULTIMODAL
    assert module.register_multimodal_placeholder.__module__ == DEPENDENCY


def test_importing_mmfft_is_enough(install):
    path = os.pathsep.join([str(install('5.17.0')), *filter(None, sys.path)])
    code = f'import mmfft, {DEPENDENCY} as d; assert not d.WITH_MULTIMODAL'
    subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, 'PYTHONPATH': path},
        check=True,
    )
