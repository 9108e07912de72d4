# Copyright (c) mmfft authors. All rights reserved.
"""From a config and a checkpoint to the network that is exported."""

import logging

from mmengine.config import Config
from mmengine.logging import print_log
from torch import nn

from ..engine import build_model, load_weights
from ..engine.class_names import class_names
from ..errors import ConfigError
from ..openmmlab.scopes import choose_by_scope
from .networks import Classifier, Network, Segmentor
from .preparation import (
    has_valid_sizes,
    normalization,
    padding,
    resizing,
)


def _detector(model: nn.Module, metadata: dict) -> Network:
    # Only these need mmdet.
    from .detectors import detector

    return detector(model, metadata)


NETWORKS = dict(mmpretrain=Classifier, mmseg=Segmentor, mmdet=_detector)


def load_network(cfg: Config, checkpoint: str) -> Network:
    """Build the model of a config with the weights of a checkpoint.

    A warning is logged if its data preprocessor is one of mmfft: the sizes
    that it gives to the backbone do not reach a graph.

    Args:
        cfg (Config): Config of mmpretrain, mmseg or mmdet, as named by its
            ``default_scope``.
        checkpoint (str): Path or URL of a file, or ``mmfft://`` and a name.

    Returns:
        Network: Network on the CPU. Its metadata are those of the file that
        :func:`export` writes, but for what only the export decides.

    Raises:
        ConfigError: If the config is for another toolbox, the checkpoint
            cannot be read or it lacks weights of the model.
    """
    network_of = choose_by_scope(cfg, NETWORKS)
    model = build_model(cfg)
    meta = load_weights(model, checkpoint)
    classes, palette = class_names(cfg, meta)
    metadata = dict(classes=classes, **normalization(cfg))
    if palette is not None:
        metadata['palette'] = palette
    if has_valid_sizes(cfg, model):
        print_log(
            f'mmfft.{type(model.data_preprocessor).__name__} tells the '
            'backbone the sizes of the images in a padded batch, an exported '
            'graph does not know them: give it images without padding, as its '
            'metadata say, and only images of one size in a batch',
            logger='current',
            level=logging.WARNING,
        )
    try:
        metadata.update(padding(cfg, model), resize=resizing(cfg))
    except ConfigError as error:
        metadata['unknown_steps'] = str(error)
    return network_of(model, metadata)
