# Copyright (c) mmfft authors. All rights reserved.
import subprocess
import sys

import pytest


@pytest.mark.parametrize('toolbox', ['mmdet', 'mmseg', 'mmpretrain'])
@pytest.mark.parametrize('imported', [True, False])
def test_type_resolves_from_each_toolbox(toolbox, imported):
    """In a fresh process, since imports stay."""
    code = f"""
from mmengine.registry import DefaultScope
from {toolbox}.registry import MODELS
DefaultScope.get_instance('test', scope_name='{toolbox}')
{'import mmfft' if imported else ''}
for name in ['DFFormer', 'CDFFormer', 'GFFormer', 'GFNet', 'GFNetPyramid']:
    model = MODELS.build(dict(type='mmfft.' + name))
    assert type(model).__module__.startswith('mmfft.backbones'), name
MODELS.build(dict(type='mmfft.MlpHead', num_classes=2, in_channels=4))
"""
    subprocess.run([sys.executable, '-c', code], check=True)


def test_importing_mmfft_is_light():
    code = """
import sys, mmfft
heavy = {'torchvision', 'mmcv', 'mmdet', 'mmseg', 'mmpretrain', 'timm'}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, '-c', code], check=True)
