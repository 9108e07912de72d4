# Copyright (c) mmfft authors. All rights reserved.
"""Files with 8-bit integers, calibrated on the training data of a config."""

import copy
import io
import json
import logging
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from onnxruntime import quantization as ort
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from ..datasets.paths import check_data
from ..engine import build_model
from ..errors import ConfigError, require_one_of
from ..measure import time_in_turns
from ..openmmlab.scopes import enter_scope, leaf_datasets
from ..runtime.onnx_model import ExportedFile
from .onnx import check_graph, open_session
from .testing import require_classes, require_task

KINDS = ('conv', 'linear', 'fourier', 'other')
# Measured in docs/how_to/deployment.md: the Fourier products gain nothing, and
# with everything else a detector loses a sixth of its AP.
DEFAULT_KINDS = ('conv', 'linear')
METHODS = dict(
    minmax=ort.CalibrationMethod.MinMax,
    entropy=ort.CalibrationMethod.Entropy,
    percentile=ort.CalibrationMethod.Percentile,
)
# Images on which the file before and the one after are compared.
COMPARED = 8

Inputs = dict[str, np.ndarray]


class Quantized(NamedTuple):
    """What :func:`quantize` did.

    Attributes:
        images (int): Number of images of the calibration.
        operators (tuple[int, int]): Number of operators that became 8-bit,
            and of all.
        bytes (tuple[int, int]): Size of the file before and after.
        seconds (tuple[float, float]): Median time of an image before and
            after, in onnxruntime on the CPU.
        change (str): How far the outputs are from those before, in words.
    """

    images: int
    operators: tuple[int, int]
    bytes: tuple[int, int]
    seconds: tuple[float, float]
    change: str


def quantize(
    cfg: Config,
    path: str | Path,
    out: str | Path,
    images: int = 64,
    method: str = 'minmax',
    kinds: Sequence[str] = DEFAULT_KINDS,
    exclude: Sequence[str] = (),
    per_channel: bool = False,
) -> Quantized:
    """Write a file whose operators compute with 8-bit integers.

    The ranges of the activations are those on images of the config's training
    data, prepared as in its test: the test data must stay unseen, or else
    their metric would be too good.

    Args:
        cfg (Config): Config of which the file was exported.
        path (str | Path): Path of the file in float32.
        out (str | Path): Path of the file to write.
        images (int): Number of images of the calibration, drawn by a fixed
            seed; all, if there are fewer. Defaults to 64.
        method (str): How the ends of a range are chosen, one of
            :data:`METHODS`. Defaults to ``'minmax'``.
        kinds (Sequence[str]): Kinds of operators that become 8-bit, of
            :data:`KINDS`: convolutions; layers that are linear, that is
            products with a constant on the right; the products of the
            Fourier filters, and of resizing them, which have a constant on
            the left or none; everything else that onnxruntime can.
        exclude (Sequence[str]): Names of operators that stay in float32, as
            patterns of a shell (``'/model/head/*'``). Defaults to none.
        per_channel (bool): Whether each output channel of a weight has a
            scale of its own. Defaults to False.

    Returns:
        Quantized: What was done.

    Raises:
        ConfigError: If an argument is out of range, ``out`` exists, the file
            is not one in float32 of the config's task and classes, or the
            config has no training data.
    """
    if images < 1:
        raise ConfigError(f'images={images} must be at least 1')
    require_one_of('method', method, tuple(METHODS))
    for kind in kinds:
        require_one_of('kinds', kind, KINDS)
    if Path(out).exists():
        raise ConfigError(f'{str(out)!r} exists, and would be overwritten')
    file = ExportedFile(path)
    require_task(cfg, file)
    model = onnx.load(path)
    _require_float32(model, path)
    nodes = _choose_nodes(model, kinds, exclude)
    reader = TrainingImages(cfg, file, images)
    original = {entry.key: entry.value for entry in model.metadata_props}
    told = dict(
        kinds=list(kinds),
        method=method,
        images=len(reader),
        per_channel=per_channel,
    )
    model = _quantize(path, nodes, reader, METHODS[method], per_channel)
    del model.metadata_props[:]
    onnx.helper.set_model_props(
        model, {**original, 'quantized': json.dumps(told)}
    )
    check_graph(model)
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, out)
    sessions = [open_session(one) for one in (path, out)]
    return Quantized(
        len(reader),
        _count(model),
        tuple(Path(one).stat().st_size for one in (path, out)),
        _time(sessions, reader.first[0]),
        _change(sessions, reader.first),
    )


class TrainingImages(ort.CalibrationDataReader):
    """Inputs of a network, made of a config's training data.

    They are read one by one, when onnxruntime asks for them.

    Args:
        cfg (Config): Config of a toolbox.
        file (ExportedFile): File whose inputs they are.
        count (int): Number of images, if there are as many.

    Attributes:
        first (list[dict[str, np.ndarray]]): The first inputs that were read.

    Raises:
        ConfigError: If the data do not exist, hold no image or have other
            classes than the file.
    """

    def __init__(self, cfg: Config, file: ExportedFile, count: int) -> None:
        enter_scope(cfg)
        check_data(cfg, 'train')
        loader = Runner.build_dataloader(_loader(cfg), seed=0)
        require_classes(file, loader.dataset, 'training data')
        if not len(loader.dataset):
            raise ConfigError('the training data of the config have no image')
        self.first: list[Inputs] = []
        self._count = min(count, len(loader.dataset))
        self._preprocessor = build_model(cfg).data_preprocessor
        self._file = file
        self._batches = iter(loader)
        self._left = self._count

    def __len__(self) -> int:
        return self._count

    def set_range(self, start_index: int, end_index: int) -> None:
        """Return so many inputs until the next call."""
        self._left = end_index - start_index

    def get_next(self) -> Inputs | None:
        """Inputs of the next image, None after the last one."""
        if not self._left:
            return None
        self._left -= 1
        with torch.inference_mode():
            data = self._preprocessor(next(self._batches), False)
        values = data['inputs'].float().numpy()
        self._file.require_size(values.shape[2:])
        inputs = dict(input=values)
        if self._file.task == 'detection':
            inner = data['data_samples'][0].img_shape[:2]
            inputs['image_size'] = np.array(inner, np.int64)
        if len(self.first) < COMPARED:
            self.first.append(inputs)
        return inputs


def _loader(cfg: Config) -> dict:
    """Data loader of the training data, in the test's pipeline."""
    for split in ('train', 'test'):
        if not cfg.get(f'{split}_dataloader'):
            raise ConfigError(
                f'the config has no {split}_dataloader, and images for the '
                'calibration are training data in the pipeline of the test'
            )
    train, test = (
        next(leaf_datasets(cfg[f'{split}_dataloader']['dataset']))
        for split in ('train', 'test')
    )
    dataset = copy.deepcopy(train)
    dataset['pipeline'] = copy.deepcopy(test['pipeline'])
    loader = dict(
        batch_size=1,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=True),
        dataset=dataset,
    )
    if 'collate_fn' in cfg.test_dataloader:
        loader['collate_fn'] = cfg.test_dataloader['collate_fn']
    return loader


def _require_float32(model: onnx.ModelProto, path: str | Path) -> None:
    types = {weight.data_type for weight in model.graph.initializer}
    if onnx.TensorProto.FLOAT16 in types:
        raise ConfigError(
            f'{str(path)!r} is in float16: export it without --half'
        )
    if any(n.op_type == 'DequantizeLinear' for n in model.graph.node):
        raise ConfigError(
            f'{str(path)!r} is quantized already: give the file of '
            'export_onnx.py'
        )


def _choose_nodes(
    model: onnx.ModelProto, kinds: Sequence[str], exclude: Sequence[str]
) -> list[onnx.NodeProto]:
    constants = {weight.name for weight in model.graph.initializer}
    nodes = [
        node for node in model.graph.node if _kind(node, constants) in kinds
    ]
    for pattern in exclude:
        kept = [n for n in nodes if not fnmatchcase(n.name, pattern)]
        if len(kept) == len(nodes):
            raise ConfigError(
                f'exclude={pattern!r} is the name of no operator that would '
                'become 8-bit; '
                + (f'one is {nodes[0].name!r}' if nodes else 'none would')
            )
        nodes = kept
    if not nodes:
        raise ConfigError(
            f'kinds={list(kinds)} leave no operator that becomes 8-bit'
        )
    return nodes


def _kind(node: onnx.NodeProto, constants: set[str]) -> str | None:
    if node.op_type in ('Conv', 'ConvTranspose'):
        return 'conv'
    if node.op_type in ('Gemm', 'MatMul'):
        return 'linear' if node.input[1] in constants else 'fourier'
    known = {*QDQRegistry, *QLinearOpsRegistry}
    return 'other' if node.op_type in known else None


def _quantize(
    path: str | Path,
    nodes: Sequence[onnx.NodeProto],
    reader: TrainingImages,
    method: ort.CalibrationMethod,
    per_channel: bool,
) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory() as folder, _quiet():
        out = Path(folder, 'model.onnx')
        ort.quantize_static(
            str(path),
            str(out),
            reader,
            quant_format=ort.QuantFormat.QDQ,
            op_types_to_quantize=sorted({node.op_type for node in nodes}),
            nodes_to_quantize=[node.name for node in nodes],
            per_channel=per_channel,
            # onnxruntime recommends these for processors with VNNI.
            activation_type=ort.QuantType.QUInt8,
            weight_type=ort.QuantType.QInt8,
            calibrate_method=method,
            # Otherwise the activations of all images are kept at once.
            extra_options=dict(CalibStridedMinMax=1),
        )
        model = onnx.load(out)
    domains = {node.domain for node in model.graph.node}
    for entry in list(model.opset_import):
        if entry.domain not in domains:
            model.opset_import.remove(entry)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    # It prints, advises a preparation that the export has done, and warns of
    # inputs with a default.
    logging.disable(logging.WARNING)
    onnxruntime.set_default_logger_severity(3)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        onnxruntime.set_default_logger_severity(2)
        logging.disable(logging.NOTSET)


def _count(model: onnx.ModelProto) -> tuple[int, int]:
    """Number of operators from 8-bit integers to such, and of all."""
    nodes = list(model.graph.node)
    made = {n.output[0] for n in nodes if n.op_type == 'DequantizeLinear'}
    taken = {n.input[0] for n in nodes if n.op_type == 'QuantizeLinear'}
    pair = ('QuantizeLinear', 'DequantizeLinear')
    real = [n for n in nodes if n.op_type not in pair]
    count = sum(bool(made & {*n.input} and taken & {*n.output}) for n in real)
    return count, len(real)


def _time(sessions: Sequence, inputs: Inputs) -> tuple[float, float]:
    contenders = {
        str(i): partial(session.run, None, inputs)
        for i, session in enumerate(sessions)
    }
    taken = time_in_turns(contenders, torch.device('cpu'), rounds=9)
    return tuple(map(statistics.median, taken.values()))


def _change(sessions: Sequence, images: Iterable[Inputs]) -> str:
    """Tell how far outputs are from each other, or how many objects there are.

    Objects have no order in which they could be compared one by one.
    """
    before, after = (
        [session.run(None, inputs) for inputs in images]
        for session in sessions
    )
    names = [output.name for output in sessions[0].get_outputs()]
    if 'labels' in names:
        which = names.index('labels')
        counts = [
            sum((outputs[which] >= 0).sum() for outputs in all_outputs)
            for all_outputs in (before, after)
        ]
        return f'{counts[0]} objects before, {counts[1]} after'
    largest = max(
        np.abs(one - other).max() / np.abs(other).max()
        for ones, others in zip(after, before)
        for one, other in zip(ones, others)
    )
    return f'largest relative difference {largest:.1e}'
