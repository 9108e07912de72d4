# Copyright (c) mmfft authors. All rights reserved.
"""Packages that run ONNX files, behind one class: names in, arrays out."""

import io
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import ConfigError, require_one_of

# Inputs of exported files that have a default, see docs/how_to/deployment.md.
OPTIONAL_INPUTS = ('image_size',)


class Engine:
    """An ONNX file, opened by a runtime on the CPU.

    Any number of threads may call it at the same time.

    Args:
        model (str | Path | bytes): Path of the file, or its content.
        threads (int, optional): Number of threads of a call. Defaults to
            what the runtime chooses.

    Attributes:
        metadata (dict[str, str]): What the file tells, as it is written.
        inputs (tuple[str, ...]): Names of the inputs, in order.
        outputs (tuple[str, ...]): Names of the outputs, in order.
    """

    metadata: dict[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __init__(
        self, model: str | Path | bytes, threads: int | None = None
    ) -> None:
        raise NotImplementedError

    def run(
        self,
        outputs: Sequence[str] | None,
        inputs: Mapping[str, np.ndarray],
    ) -> list[np.ndarray]:
        """Compute outputs.

        Args:
            outputs (Sequence[str], optional): Names of the outputs to return.
                None for all.
            inputs (Mapping[str, np.ndarray]): Inputs by name; those of
                ``OPTIONAL_INPUTS`` may be left out.

        Returns:
            list[np.ndarray]: The outputs in the order of their names.
        """
        raise NotImplementedError


class OnnxRuntime(Engine):
    """onnxruntime with its CPU provider."""

    def __init__(
        self, model: str | Path | bytes, threads: int | None = None
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        # It warns of inputs with a default.
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            model, options, providers=['CPUExecutionProvider']
        )
        self.metadata = self._session.get_modelmeta().custom_metadata_map
        self.inputs = tuple(x.name for x in self._session.get_inputs())
        self.outputs = tuple(x.name for x in self._session.get_outputs())

    def run(
        self,
        outputs: Sequence[str] | None,
        inputs: Mapping[str, np.ndarray],
    ) -> list[np.ndarray]:
        return self._session.run(outputs, inputs)


class OpenVino(Engine):
    """OpenVINO with its CPU plugin.

    Args:
        model (str | Path | bytes): Path of the file, or its content.
        threads (int, optional): Number of threads of a call. Defaults to
            what OpenVINO chooses.
        precision (str): ``INFERENCE_PRECISION_HINT`` of OpenVINO, such as
            ``'bf16'``. Defaults to ``'f32'``: by itself, OpenVINO computes in
            bfloat16 on processors that have instructions for it.
    """

    def __init__(
        self,
        model: str | Path | bytes,
        threads: int | None = None,
        precision: str = 'f32',
    ) -> None:
        import openvino
        from openvino.frontend import FrontEndManager

        settings = {'INFERENCE_PRECISION_HINT': precision}
        if threads is not None:
            settings['INFERENCE_NUM_THREADS'] = threads
        # Core.read_model tries all formats, and complains in each.
        frontend = FrontEndManager().load_by_framework('onnx')
        source = io.BytesIO(model) if isinstance(model, bytes) else str(model)
        loaded = frontend.load(source)
        # Those of the compiled graph may have other names besides.
        self.outputs = tuple(x.get_names()[0] for x in loaded.get_outputs())
        graph = frontend.convert(loaded)
        # Where it puts the metadata of a file that has any.
        told = graph.get_rt_info()
        keys = told['framework'] if 'framework' in told else ()
        self.metadata = {
            key: graph.get_rt_info(['framework', key]).astype(str)
            for key in keys
        }
        self._defaults = _free_optional_inputs(graph)
        compiled = openvino.Core().compile_model(graph, 'CPU', settings)
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()
        self.inputs = tuple(x.any_name for x in compiled.inputs)

    def run(
        self,
        outputs: Sequence[str] | None,
        inputs: Mapping[str, np.ndarray],
    ) -> list[np.ndarray]:
        # A request computes for one caller at a time.
        with self._lock:
            found = self._request.infer({**self._defaults, **inputs})
        return [found[name] for name in outputs or self.outputs]


def _free_optional_inputs(graph) -> dict[str, np.ndarray]:
    """Make inputs of what OpenVINO takes for constants; their defaults."""
    from openvino import opset13

    defaults = {}
    for node in graph.get_ops():
        names = node.output(0).get_names() if node.get_output_size() else ()
        for name in set(names).intersection(OPTIONAL_INPUTS):
            if node.get_type_name() == 'Constant':
                defaults[name] = value = node.data.copy()
                free = opset13.parameter(value.shape, value.dtype, name)
                free.output(0).set_names({name})
                node.output(0).replace(free.output(0))
                graph.add_parameters([free])
    return defaults


RUNTIMES = dict(onnxruntime=OnnxRuntime, openvino=OpenVino)


def open_engine(
    model: str | Path | bytes,
    runtime: str = 'onnxruntime',
    threads: int | None = None,
) -> Engine:
    """Open an ONNX file.

    Args:
        model (str | Path | bytes): Path of the file, or its content.
        runtime (str): ``'onnxruntime'`` or ``'openvino'``, the name of the
            package. Defaults to ``'onnxruntime'``.
        threads (int, optional): Number of threads of a call. Defaults to
            what the runtime chooses.

    Returns:
        Engine: The file, ready to run, in float32 on any processor.

    Raises:
        ConfigError: If the runtime is another one or not installed, or the
            file does not exist or cannot be run.
    """
    require_one_of('runtime', runtime, tuple(RUNTIMES))
    name = 'the content' if isinstance(model, bytes) else repr(str(model))
    if not isinstance(model, bytes) and not Path(model).is_file():
        raise ConfigError(f'model {name} does not exist')
    try:
        return RUNTIMES[runtime](model, threads)
    except ImportError as error:
        raise ConfigError(
            f'runtime={runtime!r} cannot be imported ({error}): pip install '
            f'{runtime}'
        ) from error
    # The errors of a runtime have no common class but this.
    except Exception as error:
        reason = ' '.join(str(error).split())
        raise ConfigError(
            f'{name} is not an ONNX file that {runtime} can run: {reason}'
        ) from error
