# Copyright (c) mmfft authors. All rights reserved.
import json
import subprocess
import sys

import pytest

TOOLBOXES = ('mmdet', 'mmseg', 'mmpretrain')
# Imports stay, so that each case has a process of its own: a fork of one that
# has imported what none of them looks at.
RESOLVE = f"""
import json, os, traceback
import mmcv, mmengine, timm, torch, torchvision

def resolve(toolbox, imported):
    from importlib import import_module
    from mmengine.registry import DefaultScope
    MODELS = import_module(toolbox + '.registry').MODELS
    DefaultScope.get_instance('test', scope_name=toolbox)
    if imported:
        import mmfft
    torch.set_default_device('meta')
    for name in ['DFFormer', 'CDFFormer', 'GFFormer', 'GFNet', 'GFNetPyramid']:
        model = MODELS.build(dict(type='mmfft.' + name))
        assert type(model).__module__.startswith('mmfft.backbones'), name
    MODELS.build(dict(type='mmfft.MlpHead', num_classes=2, in_channels=4))

said = {{}}
for toolbox in {TOOLBOXES}:
    for imported in (True, False):
        read, write = os.pipe()
        if not os.fork():
            try:
                resolve(toolbox, imported)
                os.write(write, b'resolved')
            except BaseException:
                os.write(write, traceback.format_exc().encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as process:
            said[f'{{toolbox}} {{imported}}'] = process.read()
print(json.dumps(said))
"""


@pytest.fixture(scope='module')
def said():
    """What each case ends with, a traceback if its types do not resolve."""
    result = subprocess.run(
        [sys.executable, '-c', RESOLVE], check=True, stdout=subprocess.PIPE
    )
    return json.loads(result.stdout.splitlines()[-1])


@pytest.mark.parametrize('toolbox', TOOLBOXES)
@pytest.mark.parametrize('imported', [True, False])
def test_type_resolves_from_each_toolbox(toolbox, imported, said):
    assert said[f'{toolbox} {imported}'] == 'resolved'
