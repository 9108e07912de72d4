# Copyright (c) mmfft authors. All rights reserved.
"""What the benchmarks share: arguments, and rows that no failure can lose."""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import nn

from benchmarks.report import is_failure, report
from mmfft.measure import clear, compare, device_name, failure
from mmfft.ops import use_path

DTYPES = dict(
    float32=torch.float32, bfloat16=torch.bfloat16, float16=torch.float16
)
# Largest error of an output or a gradient, relative in the norm.
GATES = {torch.float32: 1e-5, torch.float16: 1e-3, torch.bfloat16: 8e-3}
TF32_GATE = 1e-3
# Seconds that the first case is taken to last, by its kind.
SECONDS = dict(eager=5, compiled=60)
# End of the name of a contender that runs with the kernels of Triton.
KERNELS = ', triton'


def size_of(text: str) -> tuple[int, int]:
    """Parse ``'224'`` or ``'800x1344'`` as ``(height, width)``."""
    rows, _, columns = text.partition('x')
    return int(rows), int(columns or rows)


def text_of(size: tuple[int, int]) -> str:
    """Inverse of :func:`size_of`."""
    return 'x'.join(map(str, size))


def run_parser(description: str) -> argparse.ArgumentParser:
    """Make a parser of the arguments that every run of cases has."""
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    has_gpu = torch.cuda.is_available()
    parser.add_argument('--device', default='cuda' if has_gpu else 'cpu')
    parser.add_argument(
        '--threads', type=int, help='number of threads on a CPU'
    )
    parser.add_argument(
        '--minutes',
        type=float,
        help='begin no case that would not end within this time',
    )
    parser.add_argument(
        '--resume',
        action='store_true',
        help='keep the rows of an earlier run and measure only what it lacks',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('work_dirs/benchmarks'),
        help='folder for the rows (JSON lines) and the plots',
    )
    return parser


def parser(description: str) -> argparse.ArgumentParser:
    """Make a parser of the arguments that all measurements have."""
    parser = run_parser(description)
    parser.add_argument('--dtype', choices=DTYPES, default='float32')
    parser.add_argument(
        '--tf32',
        action='store_true',
        help='let CUDA round the factors of float32 products and convolutions '
        'to TF32; exact by default, unlike the default of cuDNN',
    )
    parser.add_argument(
        '--batch',
        type=int,
        nargs='+',
        help='8 by default; on a GPU 128 at 224x224 and about as many pixels '
        'at other sizes, a power of two',
    )
    parser.add_argument(
        '--mode',
        choices=('infer', 'train'),
        nargs='+',
        default=['infer', 'train'],
    )
    parser.add_argument(
        '--rounds',
        type=int,
        default=9,
        help='measurements of each time; 0 to call each only once, which '
        'fills the caches of compilers',
    )
    return parser


def batches(args: argparse.Namespace, size: tuple[int, int]) -> list[int]:
    """Batch sizes for images of a size."""
    if args.batch:
        return args.batch
    if args.device == 'cpu':
        return [8]
    images = max(1, 128 * 224**2 // (size[0] * size[1]))
    return [1 << (images.bit_length() - 1)]


def use_tf32(enabled: bool) -> None:
    """Round the factors of float32 products to TF32, or keep them exact.

    These two setters also set PyTorch's newer ``fp32_precision``, so that
    either interface can be read afterwards.
    """
    torch.set_float32_matmul_precision('high' if enabled else 'highest')
    torch.backends.cudnn.allow_tf32 = enabled


def autocast(device: torch.device, dtype: torch.dtype):
    """Return a context of autocast, which does nothing for float32."""
    if dtype == torch.float32:
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def forced(path: str | None) -> AbstractContextManager:
    """Return a context that forces a path, if there is one.

    Gradients are to be computed within it: a backward pass asks for the path
    when it runs.
    """
    return use_path(path) if path else nullcontext()


def path_of(name: str) -> str | None:
    """The path that a contender's name asks for."""
    return 'triton' if KERNELS in name else None


class Modules:
    """The same call of several modules, in inference or training.

    Training is forward and backward.

    Args:
        modules (dict[str, nn.Module]): Modules by name; see :data:`KERNELS`.
        shape (tuple[int, ...]): Shape of the input of all of them.
        train (bool): Whether to train.
        args (argparse.Namespace): Arguments from :func:`parser`.
    """

    def __init__(self, modules, shape, train, args):
        self.device, self.dtype = torch.device(args.device), DTYPES[args.dtype]
        self.modules: dict[str, nn.Module] = {
            name: module.to(self.device).train(train)
            for name, module in modules.items()
        }
        self.x = torch.randn(shape, device=self.device, requires_grad=train)
        self.train = train

    def contenders(self) -> dict[str, Callable]:
        """Functions that prepare the call of each module."""
        return {
            name: lambda name=name: [partial(self._run, name)]
            for name in self.modules
        }

    def _run(self, name):
        module = self.modules[name]
        with forced(path_of(name)):
            with (
                autocast(self.device, self.dtype),
                torch.set_grad_enabled(self.train),
            ):
                outs = module(self.x)
            if self.train:
                outs = outs if isinstance(outs, tuple) else (outs,)
                leaves = [self.x, *module.parameters()]
                torch.autograd.grad(sum(out.sum() for out in outs), leaves)


def environment(args: argparse.Namespace) -> dict:
    """Describe machine, versions and arguments."""
    device = torch.device(args.device)
    row = dict(
        device=device_name(device),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
        triton=_version('triton'),
        python=platform.python_version(),
    )
    if device.type == 'cuda':
        properties = torch.cuda.get_device_properties(device)
        row.update(
            driver=_driver(),
            cuda=torch.version.cuda,
            cudnn=torch.backends.cudnn.version(),
            multiprocessors=properties.multi_processor_count,
            memory=properties.total_memory,
            l2_cache=properties.L2_cache_size,
        )
    return dict(row, arguments={k: str(v) for k, v in vars(args).items()})


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _driver() -> str | None:
    if not shutil.which('nvidia-smi'):
        return None
    query = ['nvidia-smi', '--query-gpu=driver_version', '--format=csv']
    answer = subprocess.run(query, capture_output=True, text=True).stdout
    return answer.strip().rpartition('\n')[2]


class Stopped(BaseException):
    """Raised by SIGTERM; no case takes it for a failure of its own."""


class Recorder:
    """Runs cases and writes each result as a line of JSON, at once.

    The first line of ``OUT/NAME.jsonl`` is the environment. A case that fails
    costs only itself. When the minutes are over or the process is asked to
    end (SIGTERM), the cases that were not begun are listed in a last row.

    Args:
        name (str): Name of the benchmark, and of its file.
        args (argparse.Namespace): Arguments from :func:`run_parser`.
        argv (Sequence[str], optional): What they were parsed from. Defaults
            to ``sys.argv[1:]``.
    """

    def __init__(self, name, args, argv=None):
        start = time.monotonic()
        self.name, self.args = name, args
        self.argv = list(sys.argv[1:] if argv is None else argv)
        self.device = torch.device(args.device)
        minutes = float('inf') if args.minutes is None else args.minutes
        self.end = start + 60 * minutes
        self.rows, self.left_out, self.longest = [], [], {}
        if args.threads:
            torch.set_num_threads(args.threads)
        if self.device.index is not None:
            torch.cuda.set_device(self.device)
        use_tf32(getattr(args, 'tf32', False))
        self.path = args.out / f'{name}.jsonl'
        self._before = signal.signal(signal.SIGTERM, self._stop)
        self._open()

    def _open(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        old = []
        if self.args.resume and self.path.exists():
            lines = self.path.read_text().splitlines(keepends=True)
            # The last line may have been cut short.
            old = [
                line
                for line in lines
                if line.endswith('\n') and 'left_out' not in json.loads(line)
            ]
        self.path.write_text(''.join(old))
        self.file = self.path.open('ab', buffering=0)
        if old:
            self.rows = list(map(json.loads, old[1:]))
        else:
            self._write(dict(benchmark=self.name, **environment(self.args)))

    def _stop(self, *_):
        self.end = 0
        raise Stopped('stopped by a signal')

    def _write(self, *rows):
        lines = [json.dumps(row, default=str) + '\n' for row in rows]
        # At once, so that a case is there as a whole or not at all.
        self.file.write(''.join(lines).encode())
        for line in lines:
            print(line[:200].rstrip(), flush=True)

    def case(
        self,
        key: dict,
        run: Callable[[], Sequence[dict]],
        kind: str = 'eager',
    ) -> None:
        """Run a case, unless it would not end in time or was resumed.

        Args:
            key (dict): What identifies the case, in each of its rows.
            run (Callable): Function that returns the rest of the rows.
            kind (str): Kind of the case, a key of :data:`SECONDS`: it is
                taken to last as long as the longest of its kind so far.
                Defaults to ``'eager'``.
        """
        if any(key.items() <= row.items() for row in self.rows):
            return
        start = time.monotonic()
        if start + self.longest.get(kind, SECONDS[kind]) > self.end:
            self.left_out.append(' '.join(map(str, key.values())))
            return
        if kind == 'compiled':
            torch.compiler.reset()
        try:
            rows = run()
        except (Exception, Stopped) as error:
            rows = [failure(error)]
        took = time.monotonic() - start
        self.longest[kind] = max(self.longest.get(kind, 0), took)
        rows = [{**key, **row, 'took': round(took, 2)} for row in rows]
        self.rows += rows
        self._write(*rows)
        try:
            clear(self.device)
            if self.device.type == 'cuda':
                torch.cuda.synchronize(self.device)
        except Exception:
            self._start_again()

    def _start_again(self):
        """Go on in a new process, after an error that no CUDA call survives.

        An illegal access leaves nothing of the GPU usable in this process.
        """
        argv = [*self.argv, '--resume']
        if self.args.minutes is not None:
            left = max(0, self.end - time.monotonic()) / 60
            argv += ['--minutes', str(left)]
        self.file.close()
        os.execv(
            sys.executable,
            [sys.executable, '-m', f'benchmarks.{self.name}', *argv],
        )

    def compare(
        self,
        case: dict,
        contenders: dict[str, Callable],
        baseline: Callable[[str], str],
        extra: Callable[[str, dict], dict] = lambda name, row: {},
        compiled: Sequence[str] = (),
    ) -> None:
        """Measure contenders, on a GPU one at a time.

        Args:
            case (dict): What the contenders have in common.
            contenders (dict[str, Callable]): By name, functions that prepare
                their calls, as for :func:`mmfft.measure.compare`.
            baseline (Callable): Function from the name of a contender to the
                name of the one with which it is compared.
            extra (Callable): Function from the name and the result of a
                contender that did not fail to more of its row.
            compiled (Sequence[str]): Names of compiled contenders, which take
                long to begin and may replay CUDA graphs of their own.
        """

        def run(group):
            results = compare(
                group,
                self.device,
                self.args.rounds,
                capture=not set(group) & set(compiled),
            )
            rows = []
            for name, result in results.items():
                try:
                    if 'error' not in result:
                        result.update(extra(name, result))
                except Exception as error:
                    result.update(failure(error))
                rows.append(dict(name=name, baseline=baseline(name), **result))
            return rows

        if self.device.type == 'cpu':
            kind = 'compiled' if compiled else 'eager'
            self.case(case, lambda: run(contenders), kind)
            return
        for name, make in contenders.items():
            kind = 'compiled' if name in compiled else 'eager'
            key = dict(case, name=name, baseline=baseline(name))
            self.case(key, partial(run, {name: make}), kind)

    def finish(self) -> int:
        """Write what was left out, print the report, return the exit status.

        Returns:
            int: 1 if a case failed other than by running out of memory, and
            0 otherwise.
        """
        if self.left_out:
            self._write(dict(left_out=self.left_out))
        self.file.close()
        signal.signal(signal.SIGTERM, self._before)
        report(self.path)
        return int(any(map(is_failure, self.rows)))
