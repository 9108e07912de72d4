# Copyright (c) mmfft authors. All rights reserved.
"""docs/tutorials, each page as it stands there, in an empty folder.

Only the sizes are smaller: fewer pictures are made, and a training is one
epoch on four of them (``shorten``).
"""

import pytest
from conftest import ROOT
from doc_pages import SHORT_TRAINING, Walk, add_options

pytestmark = pytest.mark.slow

PAGES = sorted((ROOT / 'docs' / 'tutorials').glob('*.md'))


def shorten(words):
    tool, *words = words
    if tool.endswith('digit_scenes.py'):
        # The first six of the validation are the new pictures.
        for name, number in [('train', 6), ('val', 10)]:
            words[words.index(f'--{name}-scenes') + 1] = str(number)
        words += ['--workers', '1']
    if tool.endswith('check_dataset.py'):
        words += ['--nproc', '1']
    if tool.endswith('/train.py'):
        words = add_options(words, SHORT_TRAINING)
        if 'det.py' in words[0]:  # nothing would be found yet
            words.append('model.test_cfg.score_thr=0')
    if '--score-thr' in words:
        words[words.index('--score-thr') + 1] = '0'
    return [tool, *words]


def curves_are_there(folder, words):
    """In the place of ``tensorboard``, which does not end."""
    assert list(folder.glob(f'{words[1]}/**/events.out.tfevents.*'))


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_a_tutorial(page, tmp_path, call_tool, call_module):
    walk = Walk(
        tmp_path,
        call_tool,
        call_module,
        shorten,
        dict(tensorboard=curves_are_there),
    )
    walk.walk(page.read_text())
