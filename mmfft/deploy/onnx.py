# Copyright (c) mmfft authors. All rights reserved.
"""Export to ONNX files that any runtime can read, checked against PyTorch."""

import copy
import io
import json
import statistics
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ..errors import ConfigError
from ..measure import time_in_turns
from ..version import __version__
from .networks import Network, Shape

try:
    import onnx
    import onnxruntime
except ImportError as error:
    raise ImportError(
        f'ONNX cannot be written ({error}): pip install "mmfft[export]"'
    ) from error

# LayerNormalization exists from version 17 on; the exporter knows up to 20.
OPSETS = range(17, 21)


def export(
    network: Network,
    path: str | Path,
    size: tuple[int, int],
    dynamic: bool = False,
    opset: int = 17,
    half: bool = False,
) -> onnx.ModelProto:
    """Export a network to an ONNX file.

    The graph contains only operators of the standard domain: the spectral
    filters become matrix products, and so does their resizing to the image's
    grid. What does not depend on the image is computed beforehand, unless
    ``half`` is set, see ``fold``.

    PyTorch's tracing exporter is used. The newer one, based on
    ``torch.export``, takes minutes instead of seconds, since it reasons about
    every size symbolically.

    Args:
        network (Network): Network to export; it is not changed.
        path (str | Path): Path of the file to write.
        size (tuple[int, int]): Image size ``(H, W)``. Without ``dynamic`` the
            file accepts only this size, in batches of 1.
        dynamic (bool): Whether the file accepts any batch and image size.
            Defaults to False.
        opset (int): Version of the operators, 17 to 20. Defaults to 17.
        half (bool): Whether weights and features are float16. The transforms
            inside the filters stay float32, and so do the image and the
            outputs. Defaults to False.

    Returns:
        onnx.ModelProto: The model that was written.

    Raises:
        ConfigError: If the opset is out of range, the size is not positive,
            or the model has operators that ONNX does not have.
    """
    if opset not in OPSETS:
        raise ConfigError(
            f'opset={opset} must be from {OPSETS[0]} to {OPSETS[-1]}'
        )
    if min(size) < 1:
        raise ConfigError(f'the image size must be positive, got {size}')
    network = copy.deepcopy(network).requires_grad_(False)
    network.replace_unexportable()
    inputs = network.inputs((1, *size))
    with torch.no_grad():
        outputs = network.named_outputs(*inputs.values())
    axes = {'input': {0: 'batch', 2: 'height', 3: 'width'}}
    for name, out in outputs.items():
        axes[name] = {0: 'batch'}
        # Masks of objects have one size.
        if out.dim() == 4 and name != 'masks':
            axes[name].update({2: f'{name}_height', 3: f'{name}_width'})
    if half:
        network.half()
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # The toolboxes' shape checks warn, and so does the old exporter.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            network,
            tuple(inputs.values()),
            stream,
            dynamo=False,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes if dynamic else None,
            opset_version=opset,
        )
    model = onnx.load_from_string(stream.getvalue())
    if not half:
        model = fold(model)
    for name, value in network.optional_inputs.items():
        # An initializer with the name of an input is its default.
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(value, name)
        )
    for output in list(model.graph.output):
        if not network.is_final(output.name):
            model.graph.output.remove(output)
    metadata = dict(
        mmfft_version=__version__,
        input_size=size,
        dynamic=dynamic,
        **network.metadata,
    )
    onnx.helper.set_model_props(
        model,
        {
            key: value if isinstance(value, str) else json.dumps(value)
            for key, value in metadata.items()
        },
    )
    check_graph(model)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return model


def fold(model: onnx.ModelProto) -> onnx.ModelProto:
    """Compute what does not depend on the inputs, once and for all.

    onnxruntime does it, with its optimizations that keep to the operators of
    the standard ("basic"). Without their result a file opens slowly, and other
    runtimes may repeat the computations for each image. Files with float16
    must not be given: onnxruntime would write them for a CPU, with casts to
    float32 around most operators.

    Args:
        model (onnx.ModelProto): Model in float32; it is not changed.

    Returns:
        onnx.ModelProto: Model with the same inputs and outputs.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = (
        onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    )
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, 'model.onnx'))
        options.optimized_model_filepath = path
        onnxruntime.InferenceSession(
            model.SerializeToString(),
            options,
            providers=['CPUExecutionProvider'],
        )
        folded = onnx.load(path)
    # It lists each domain that it knows itself.
    del folded.opset_import[:]
    folded.opset_import.extend(model.opset_import)
    return folded


def check_graph(model: onnx.ModelProto) -> None:
    """Check that any runtime can be expected to run a model.

    Args:
        model (onnx.ModelProto): Model to check, including its shapes.

    Raises:
        ConfigError: If it has operators outside of the standard domain,
            Fourier transforms or complex tensors.
        onnx.checker.ValidationError: If it is not valid ONNX.
    """
    strange = {
        f'{node.domain}::{node.op_type}'
        for node in _nodes(model.graph)
        if node.domain not in ('', 'ai.onnx')
        or any(word in node.op_type for word in ('DFT', 'FFT', 'STFT'))
    }
    if strange:
        raise ConfigError(
            'the model has operators that not every ONNX runtime has: '
            f'{sorted(strange)}'
        )
    inferred = onnx.shape_inference.infer_shapes(model)
    complex_types = (onnx.TensorProto.COMPLEX64, onnx.TensorProto.COMPLEX128)
    tensors = [value.type.tensor_type for value in inferred.graph.value_info]
    if any(tensor.elem_type in complex_types for tensor in tensors):
        raise ConfigError('the model has complex tensors')
    onnx.checker.check_model(model, full_check=True)


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)


def check_shapes(size: tuple[int, int], dynamic: bool) -> list[Shape]:
    """Choose batch and image sizes at which to check a file.

    Args:
        size (tuple[int, int]): Image size ``(H, W)`` of the export.
        dynamic (bool): Whether the file accepts other sizes.

    Returns:
        list[tuple[int, int, int]]: Shapes ``(B, H, W)``: only that of the
        export, or if dynamic five, larger and smaller, odd and even.
    """
    height, width = size
    if not dynamic:
        return [(1, height, width)]
    return [
        (1, height, width),
        (2, height + 1, width),
        (1, height, width + 35),
        (1, height * 3 // 4 | 1, width // 2 | 1),
        (3, height // 2, width * 3 // 4),
    ]


def open_session(path: str | Path | bytes) -> onnxruntime.InferenceSession:
    """Open a file in onnxruntime on the CPU, with PyTorch's thread count.

    Args:
        path (str | Path | bytes): Path of the file, or its content.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # It warns of inputs with a default.
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        path, options, providers=['CPUExecutionProvider']
    )


def open_parts(
    path: str | Path, network: Network
) -> list[tuple[onnxruntime.InferenceSession, Network]]:
    """Open a file as the parts in which it can be compared with PyTorch.

    A detector is two: its objects depend on which of two scores is larger,
    and on a random image it finds none.

    Args:
        path (str | Path): Path of the file.
        network (Network): Network that was exported.

    Returns:
        list[tuple[InferenceSession, Network]]: Session and network of each
        part, for :func:`compare`.
    """
    parts = network.parts()
    if len(parts) == 1:
        return [(open_session(path), network)]
    # Where it is cut, the types must be known.
    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    whole = onnx.utils.Extractor(model)
    # Any size will do for the names.
    shape = (1, *network.img_size)
    sessions = []
    for part in parts:
        inputs = part.inputs(shape)
        outputs = part.named_outputs(*inputs.values())
        graph = whole.extract_model(list(inputs), list(outputs))
        sessions.append((open_session(graph.SerializeToString()), part))
    return sessions


def compare(
    session: onnxruntime.InferenceSession, network: Network, shape: Shape
) -> float:
    """Largest difference between onnxruntime and PyTorch on random images.

    Args:
        session (InferenceSession): Session of the exported file, or of a
            part of it.
        network (Network): Network that was exported, or the same part of it,
            in float32.
        shape (tuple[int, int, int]): Shape ``(B, H, W)`` of the images.

    Returns:
        float: Difference as the network defines it, see
        :meth:`Network.difference`.
    """
    inputs = network.inputs(shape)
    with torch.inference_mode():
        expected = [out.numpy() for out in network(*inputs.values())]
    outputs = session.run(None, _arrays(inputs, session))
    return network.difference(outputs, expected)


def benchmark(
    session: onnxruntime.InferenceSession,
    network: Network,
    shape: Shape,
    rounds: int = 9,
) -> tuple[float, float]:
    """Time eager PyTorch and onnxruntime on a batch.

    Args:
        session (InferenceSession): Session of the exported file.
        network (Network): Network that was exported.
        shape (tuple[int, int, int]): Shape ``(B, H, W)`` of the images.
        rounds (int): Number of times that each runs, by turns. Defaults to 9.

    Returns:
        tuple[float, float]: Median seconds of PyTorch and of onnxruntime.
    """
    inputs = network.inputs(shape)
    arrays = _arrays(inputs, session)
    contenders = dict(
        eager=lambda: network(*inputs.values()),
        runtime=lambda: session.run(None, arrays),
    )
    with torch.inference_mode():
        seconds = time_in_turns(contenders, inputs['input'].device, rounds)
    return tuple(statistics.median(taken) for taken in seconds.values())


def _arrays(
    inputs: dict[str, torch.Tensor], session: onnxruntime.InferenceSession
) -> dict[str, np.ndarray]:
    arrays = {name: value.numpy() for name, value in inputs.items()}
    for wanted in session.get_inputs():
        # Inner tensors of a file with float16 weights.
        if wanted.type == 'tensor(float16)':
            arrays[wanted.name] = arrays[wanted.name].astype(np.float16)
    return arrays
