# Copyright (c) mmfft authors. All rights reserved.
"""Export to ONNX files that any runtime can read, checked against PyTorch."""

import copy
import io
import json
import math
import statistics
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from ..engine import image_channels
from ..errors import ConfigError
from ..measure import time_in_turns
from ..version import __version__
from .networks import Network

try:
    import onnx
    import onnxruntime
except ImportError as error:
    raise ImportError(
        f'ONNX cannot be written ({error}): pip install "mmfft[export]"'
    ) from error

# LayerNormalization exists from version 17 on; the exporter knows up to 20.
OPSETS = range(17, 21)

Shape = tuple[int, int, int]  # batch, height, width


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
    grid.

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
    image = _images(network, (1, *size))
    with torch.no_grad():
        outputs = network.named_outputs(image)
    axes = {'input': {0: 'batch', 2: 'height', 3: 'width'}}
    for name, out in outputs.items():
        sides = ('batch', None, f'{name}_height', f'{name}_width')
        axes[name] = {i: sides[i] for i in range(out.dim()) if sides[i]}
    if half:
        network.half()
    stream = io.BytesIO()
    with warnings.catch_warnings():
        # The toolboxes' shape checks warn, and so does the old exporter.
        warnings.simplefilter('ignore')
        torch.onnx.export(
            network,
            (image,),
            stream,
            dynamo=False,
            input_names=['input'],
            output_names=list(outputs),
            dynamic_axes=axes if dynamic else None,
            opset_version=opset,
        )
    model = onnx.load_from_string(stream.getvalue())
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


def open_session(path: str | Path) -> onnxruntime.InferenceSession:
    """Open a file in onnxruntime on the CPU, with PyTorch's thread count."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(
        path, options, providers=['CPUExecutionProvider']
    )


def compare(
    session: onnxruntime.InferenceSession, network: Network, shape: Shape
) -> float:
    """Largest difference between onnxruntime and PyTorch on random images.

    Args:
        session (InferenceSession): Session of the exported file.
        network (Network): Network that was exported, in float32.
        shape (tuple[int, int, int]): Shape ``(B, H, W)`` of the images.

    Returns:
        float: Largest absolute difference in an output, relative to the
        largest absolute value of that output in PyTorch; infinite if shapes
        differ, NaN if either side contains NaN.
    """
    images = _images(network, shape)
    with torch.inference_mode():
        expected = [out.numpy() for out in network(images)]
    return max_relative_difference(
        session.run(None, {'input': images.numpy()}), expected
    )


def max_relative_difference(
    outputs: Sequence[np.ndarray], expected: Sequence[np.ndarray]
) -> float:
    """Largest difference of outputs, defined as in :func:`compare`."""
    if [out.shape for out in outputs] != [out.shape for out in expected]:
        return math.inf
    differences = [
        np.abs(out - other).max() / np.abs(other).max()
        for out, other in zip(outputs, expected)
    ]
    # NumPy's maximum propagates NaN, Python's may not.
    return float(np.max(differences))


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
    images = _images(network, shape)
    arrays = {'input': images.numpy()}
    contenders = dict(
        eager=lambda: network(images),
        runtime=lambda: session.run(None, arrays),
    )
    with torch.inference_mode():
        seconds = time_in_turns(contenders, images.device, rounds)
    return tuple(statistics.median(taken) for taken in seconds.values())


def _images(network: Network, shape: Shape) -> torch.Tensor:
    """Noise in the place of normalized images, the same in every call."""
    batch, *size = shape
    generator = torch.Generator().manual_seed(0)
    return torch.randn(
        batch, image_channels(network), *size, generator=generator
    )
