# Copyright (c) mmfft authors. All rights reserved.
"""The model card of a classifier, from what our metafiles say of it."""

import re
from collections.abc import Iterator

from mmengine.fileio import load
from timm.models import get_pretrained_cfg
from timm.models._hub import generate_readme
from torch import nn

from ..errors import ConfigError
from ..openmmlab.config_names import mim_folder

_USAGE = """
The architecture is in mmfft, which registers it with timm when it is imported:

```python
import mmfft.timm_models
import timm

# The folder of this file, or 'hf-hub:OWNER/NAME' once it is on the hub.
model = timm.create_model('local-dir:FOLDER', pretrained=True)
```

Any image size works; `img_size=` or `model.set_input_size()` stores the
filters for another one. `features_only=True` gives the features of the levels.
"""
_CONVERTED = (
    'These are the weights that the authors of the paper published, with '
    'other names for the tensors. mmfft tests that its model computes what '
    'the published code does. The training and the accuracy on the data set '
    'were not reproduced.'
)
_OWN = (
    'These weights are not those of a publication. Neither the data that '
    'they were trained on nor an accuracy is known to the program that wrote '
    'this card: whoever publishes them has to add both here.'
)


def model_card(
    model: nn.Module, name: str, published: bool, license: str
) -> str:
    """Describe a classifier and its weights, as the hub shows it.

    Args:
        model (nn.Module): The model.
        name (str): Its name in timm.
        published (bool): Whether the weights are those of the paper.
        license (str): Licence of the weights, as the hub names it.

    Returns:
        str: Markdown with a header in YAML, by timm's ``generate_readme``.

    Raises:
        ConfigError: If this copy of mmfft came without its metafiles.
    """
    size = ' x '.join(map(str, model.backbone.img_size))
    params = sum(p.numel() for p in model.parameters())
    stats = {
        'Parameters (M)': f'{params / 1e6:.2f}',
        'Image size': size,
        'Classes': model.num_classes,
    }
    collection, entries, citations = _metafile(name)
    # Those of another size or number of classes have other parameters.
    known = [e for e in entries if e['Metadata']['Parameters'] == params]
    if known:
        flops = known[0]['Metadata']['FLOPs'] / 1e9
        stats['FLOPs (G), a multiplication with an addition as one'] = (
            f'{flops:.2f}'
        )
    paper = collection['Paper']
    details = {
        'Model type': 'Image classification, feature backbone',
        'Model stats': stats,
        'Paper': f'{paper["Title"]}: {paper["URL"]}',
        'Code of the paper': collection['Code'],
    }
    if get_pretrained_cfg(name).origin_url is None:
        details['Architecture'] = "mmfft's own, in no paper"
    if published:
        (result,) = known[0]['Results']
        details['Dataset'] = result['Dataset']
        if result['Metrics']:
            details['Published accuracy (%), not reproduced'] = result[
                'Metrics'
            ]
    details['Not verified'] = _CONVERTED if published else _OWN
    card = dict(
        description=f'{collection["Name"]}, a Fourier token mixer, for timm.',
        license=license,
        details=details,
        usage=_USAGE,
        citation=citations,
        tags=['image-classification', 'timm'],
    )
    return generate_readme(card, name)


def _metafile(name: str) -> tuple[dict, list[dict], list[str]]:
    """Collection and classifiers of an arch, and how its paper is cited."""
    folder = mim_folder()
    if folder is None:
        raise ConfigError(
            'this copy of mmfft came without its metafiles, which the model '
            'card is made from; install mmfft with pip'
        )
    stem = name.replace('_', '-')
    for file in load(str(folder / 'model-index.yml'))['Import']:
        metafile = load(str(folder / file))
        entries = list(_classifiers(metafile['Models'], f'{stem}_'))
        if entries:
            (collection,) = metafile['Collections']
            readme = (folder / file).with_name(collection['README'])
            text = readme.read_text(encoding='utf-8')
            citations = re.findall(r'```bibtex\n(.*?)\n```', text, re.S)
            return collection, entries, citations
    raise ConfigError(f'no metafile describes {name!r}')


def _classifiers(models: list[dict], prefix: str) -> Iterator[dict]:
    for model in models:
        tasks = [result['Task'] for result in model['Results']]
        if model['Name'].startswith(prefix) and tasks == [
            'Image Classification'
        ]:
            yield model
