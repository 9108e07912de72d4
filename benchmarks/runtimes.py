# Copyright (c) mmfft authors. All rights reserved.
"""Compare runtimes on exported models: eager, compiled, onnxruntime, OpenVINO.

    python -m benchmarks.runtimes --rounds 15
    python -m benchmarks.runtimes --configs CONFIG --file int8=int8.onnx

Each config is exported at its own size, with random weights, and all runtimes
take the same images with the same number of threads of a CPU. OpenVINO runs in
float32, and where the processor has instructions for it also in bfloat16. With
``--file``, further files of the model are run in both runtimes.

Each row has the error of the first output against eager PyTorch, relative in
the norm; a row of float32 above 1e-4 counts as a failure.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch

from benchmarks.common import Recorder, run_parser, size_of, text_of
from benchmarks.op import error_of
from mmfft.deploy import export, load_network
from mmfft.engine import build_model, load_config
from mmfft.errors import ConfigError
from mmfft.runtime.engines import RUNTIMES, Engine, OpenVino, open_engine

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = (
    'configs/demo/cdfformer-nano_1xb32-6e_digit-crops.py',
    'configs/cdfformer/cdfformer-s18_8xb128_in1k.py',
    'configs/dfformer/dfformer-s18_8xb128_in1k.py',
    'configs/demo/mask-rcnn_cdfformer-nano_fpn_1xb4-3e_digit-scenes.py',
)
TOLERANCE = 1e-4
PYTORCH = ('eager', 'compiled')
BFLOAT16 = 'openvino, bfloat16'


def has_bfloat16() -> bool:
    """Whether OpenVINO has instructions for bfloat16 on this processor."""
    import openvino

    able = openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES')
    return 'BF16' in able


class Model:
    """A config's model with random weights, in PyTorch and in a file.

    Args:
        cfg (Config): Config of mmpretrain, mmdet or mmseg.
        folder (Path): Folder for the weights and the file.
        args (argparse.Namespace): Arguments of the command line.
    """

    def __init__(self, cfg, folder, args):
        self.args = args
        torch.manual_seed(0)
        weights = folder / 'random.pth'
        torch.save(dict(state_dict=build_model(cfg).state_dict()), weights)
        self.network = load_network(cfg, str(weights))
        self.size = args.size or self.network.img_size
        self.inputs = self.network.inputs((1, *self.size))
        self.arrays = {k: v.numpy() for k, v in self.inputs.items()}
        self.path = folder / 'model.onnx'
        export(self.network, self.path, self.size, dynamic=args.dynamic)
        self.outputs = {}  # the first of each contender

    def contenders(self):
        """Functions that prepare the call of each contender."""
        threads = torch.get_num_threads()
        makers = dict(eager=lambda: self.network)
        if not self.args.skip_compiled:
            makers['compiled'] = partial(
                torch.compile, self.network, dynamic=False
            )
        for name, path in [('', self.path), *self.args.file]:
            for runtime in RUNTIMES:
                makers[f'{runtime}, {name}' if name else runtime] = partial(
                    open_engine, path, runtime, threads
                )
        if has_bfloat16():
            makers[BFLOAT16] = partial(OpenVino, self.path, threads, 'bf16')
        return {
            name: partial(self._calls, name, make)
            for name, make in makers.items()
        }

    def _calls(self, name, make):
        made = make()

        def call():
            if isinstance(made, Engine):
                outputs = made.run(None, self.arrays)
            else:
                with torch.inference_mode():
                    outputs = made(*self.inputs.values())
            self.outputs[name] = outputs[0]

        return [call]

    def extra(self, name, row):
        if name not in PYTORCH:
            # PyTorch does not see what the others allocate.
            del row['memory']
        if len(self.network.parts()) > 1:
            # With random weights, any of many objects may be the first.
            return {}
        error = error_of(
            torch.as_tensor(self.outputs[name]), self.outputs['eager']
        )
        more = dict(error_y=error)
        if name in (*PYTORCH, *RUNTIMES) and not error < TOLERANCE:
            more['error'] = f'the error exceeds {TOLERANCE}'
        return more


def named_file(text: str) -> tuple[str, str]:
    """Parse ``'NAME=PATH'``."""
    name, _, path = text.partition('=')
    if not name or not Path(path).is_file():
        raise argparse.ArgumentTypeError(
            f'must be NAME=PATH of a file, got {text!r}'
        )
    return name, path


def main(argv=None):
    p = run_parser(__doc__.splitlines()[0])
    p.add_argument(
        '--configs', nargs='+', default=[str(ROOT / c) for c in CONFIGS]
    )
    p.add_argument(
        '--size', type=size_of, help="size of the images; each config's own"
    )
    p.add_argument(
        '--dynamic', action='store_true', help='export for images of any size'
    )
    p.add_argument(
        '--file',
        action='append',
        type=named_file,
        default=[],
        metavar='NAME=PATH',
        help='another file of the one model of --configs, such as one in int8',
    )
    p.add_argument(
        '--skip-compiled',
        action='store_true',
        help='leave out torch.compile, which takes minutes to begin',
    )
    p.add_argument('--rounds', type=int, default=9)
    # The dtype is for the report.
    p.set_defaults(device='cpu', threads=1, dtype='float32')
    args = p.parse_args(argv)
    if args.device != 'cpu':
        p.error(f'--device {args.device}: the runtimes are those of a CPU')
    if args.file and len(args.configs) != 1:
        p.error('--file is for one model: name its config with --configs')
    try:
        cfgs = {Path(c).stem: load_config(c) for c in args.configs}
    except ConfigError as error:
        p.error(str(error))
    recorder = Recorder('runtimes', args, argv)
    for name, cfg in cfgs.items():
        with tempfile.TemporaryDirectory() as folder:
            model = Model(cfg, Path(folder), args)
            recorder.compare(
                dict(
                    mode='infer',
                    model=name,
                    image=text_of(model.size),
                    batch=1,
                ),
                model.contenders(),
                baseline=lambda name: 'eager',
                extra=model.extra,
                compiled=['compiled'],
            )
    return recorder.finish()


if __name__ == '__main__':
    sys.exit(main())
