# Copyright (c) mmfft authors. All rights reserved.
"""The test of a config, with an exported file in the place of the model."""

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..engine import build_runner
from ..errors import ConfigError
from ..openmmlab.scopes import choose_by_scope, toolbox
from ..runtime.objects import place_objects
from ..runtime.onnx_model import ExportedFile

TASKS = dict(
    mmpretrain='classification', mmdet='detection', mmseg='segmentation'
)


class ExportedModel(BaseModel):
    """A model whose network runs outside of PyTorch.

    The data preprocessor is the toolbox's, and so is what makes predictions
    of logits. Objects are placed by :func:`.place_objects`, as they are for a
    user of the file.

    Args:
        model (nn.Module): Model of the config, whose network is not run.
        file (ExportedFile): File that is run in its place.
    """

    def __init__(self, model: nn.Module, file: ExportedFile) -> None:
        super().__init__(model.data_preprocessor)
        self.model = model
        self.file = file
        self._predict = dict(
            classification=self._classify,
            detection=self._detect,
            segmentation=self._segment,
        )[file.task]
        if file.task == 'segmentation':
            # mmseg's own windows and resizing follow.
            model.encode_decode = lambda inputs, _: self._logits(inputs)

    def test_step(self, data: dict | tuple | list) -> list:
        """Predict for a batch of a data loader.

        Args:
            data (dict | tuple | list): Batch as the data loader returns it.

        Returns:
            list: Data samples with predictions.

        Raises:
            ConfigError: If the file does not take images of this size.
        """
        data = self.data_preprocessor(data, False)
        return self._predict(data['inputs'], data['data_samples'])

    def forward(self, inputs: Tensor, *args, **kwargs):
        raise NotImplementedError('only test_step can be called')

    def _run(self, inputs: Tensor, **more) -> dict[str, np.ndarray]:
        values = inputs.float().cpu().numpy()
        self.file.require_size(values.shape[2:])
        engine = self.file.engine
        outputs = engine.run(None, dict(input=values, **more))
        return dict(zip(engine.outputs, outputs))

    def _logits(self, inputs: Tensor) -> Tensor:
        return torch.from_numpy(self._run(inputs)['logits'])

    def _classify(self, inputs: Tensor, samples: list) -> list:
        logits = self._logits(inputs)
        return self.model.head._get_predictions(logits, samples)

    def _segment(self, inputs: Tensor, samples: list) -> list:
        return self.model.predict(inputs, samples)

    def _detect(self, inputs: Tensor, samples: list) -> list:
        found = []
        # The size of the image in its tensor is one input for all images.
        for image, sample in zip(inputs, samples):
            inner = sample.img_shape[:2]
            outputs = self._run(
                image[None], image_size=np.array(inner, np.int64)
            )
            objects = place_objects(
                {name: out[0] for name, out in outputs.items()},
                inner,
                sample.ori_shape[:2],
                self.file.metadata.get('mask_thr_binary'),
            )
            objects['bboxes'] = objects.pop('boxes')
            objects = {k: torch.from_numpy(x) for k, x in objects.items()}
            found.append(InstanceData(**objects))
        return self.model.add_pred_to_datasample(samples, found)


def exported_runner(cfg: Config, file: ExportedFile) -> Runner:
    """Build the Runner of a config's test for an exported file.

    Args:
        cfg (Config): Config with the options of the test, changed in place.
        file (ExportedFile): File of ``tools/deployment/export_onnx.py``.

    Returns:
        Runner: Runner whose ``test()`` returns the config's metrics.

    Raises:
        ConfigError: If the file is for another task than the config, or for
            other classes than those of its test data.
    """
    require_task(cfg, file)
    if not file.metadata['dynamic']:
        cfg.test_dataloader.batch_size = 1
    runner = build_runner(cfg, dump_suffix='_test_onnx')
    require_classes(file, runner.test_loop.dataloader.dataset, 'test data')
    runner.model = ExportedModel(runner.model, file)
    return runner


def require_task(cfg: Config, file: ExportedFile) -> None:
    """See that a file is for the task of a config's toolbox.

    Args:
        cfg (Config): Config of a toolbox.
        file (ExportedFile): Exported file.

    Raises:
        ConfigError: If it is not.
    """
    task = choose_by_scope(cfg, TASKS)
    if file.task != task:
        raise ConfigError(
            f'{file.path!r} is for {file.task}, and the config for {task} '
            f'with {toolbox(cfg)}'
        )


def require_classes(file: ExportedFile, dataset, name: str) -> None:
    """See that a file has the classes of a data set, if that tells any.

    Args:
        file (ExportedFile): Exported file.
        dataset (Dataset): Data set of a toolbox.
        name (str): What it is to the config, for the message.

    Raises:
        ConfigError: If it has other ones.
    """
    meta = getattr(dataset, 'metainfo', None) or {}
    classes = meta.get('classes')
    if classes and list(map(str, classes)) != list(file.classes):
        raise ConfigError(
            f'{file.path!r} has the classes {_some(file.classes)}, and the '
            f'{name} of the config {_some(classes)}'
        )


def _some(names) -> str:
    names = list(map(str, names))
    more = f' and {len(names) - 5} more' if len(names) > 5 else ''
    return ', '.join(map(repr, names[:5])) + more
