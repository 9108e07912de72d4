# Copyright (c) mmfft authors. All rights reserved.
"""The site of the documentation, built by ``make docs``."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / '_extensions')]

from mmfft.version import __version__  # noqa: E402

project = 'mmfft'
author = 'The mmfft Authors'
copyright = author
version = release = __version__
repository = 'https://github.com/mmfft/mmfft'

extensions = [
    'mathml',
    'myst_nb',
    'repository',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
    'sphinx_copybutton',
    'sphinx_design',
    'tool_help',
]
exclude_patterns = ['_extensions']
html_math_renderer = 'mathml'
html_theme = 'furo'
html_title = f'mmfft {version}'
html_theme_options = dict(
    source_repository=repository,
    source_branch='main',
    source_directory='docs/',
)
copybutton_prompt_text = r'\$ |>>> '
copybutton_prompt_is_regexp = True

myst_enable_extensions = ['colon_fence', 'dollarmath']
myst_heading_anchors = 4
# A test runs the notebooks; their outputs are stored.
nb_execution_mode = 'off'

autodoc_inherit_docstrings = False
autodoc_member_order = 'bysource'
autodoc_typehints = 'none'
# Names of others: without a network there are no inventories to look them up.
nitpick_ignore_regex = [
    (
        'py:.*',
        r'(argparse|collections|mmcv|mmdet|mmengine|mmpretrain|mmseg|nn|np|'
        r'numpy|onnx|onnxruntime|openvino|pathlib|pybind11_builtins|timm|'
        r'torch|torchvision)\..+',
    ),
    (
        'py:class',
        r'Config|InferenceSession|InstanceData|Logger|Path|Runner|'
        r'SimpleNamespace|Tensor|optional|mmfft\..+\._\w+',
    ),
]
