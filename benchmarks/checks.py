# Copyright (c) mmfft authors. All rights reserved.
"""Check on the machine at hand that the results are right.

    python -m benchmarks.checks --minutes 9

Each check writes a row with its figures and whether it ``passed``. What needs
a GPU, or two, is written as ``skipped`` elsewhere. Errors are relative in the
norm; the filters are compared with the published formula in float64 on a CPU,
in value and in gradient. The exit status is 1 if a check did not pass.

``filters`` are the checks of each path, dtype, layout and grid, ``models``
those of whole models, also compiled. They can run in parallel, by ``--grids``
and ``--models``, while ``others`` want a GPU for themselves.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from itertools import product

import torch
from oracle import models as plain_models
from oracle.filters import as_complex, filtered
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from benchmarks.backbones import build, features
from benchmarks.common import (
    DTYPES,
    GATES,
    Recorder,
    autocast,
    forced,
    run_parser,
    size_of,
    text_of,
    use_tf32,
)
from benchmarks.op import (
    NAMES,
    error_of,
    exactly,
    gate,
    inputs,
    is_for,
    paths_on,
    results,
)
from mmfft.layers import StarReLU
from mmfft.measure import (
    capture_graph,
    clear,
    event_seconds,
    no_synchronization,
    synchronize,
    time_in_turns,
)
from mmfft.models import CDFFormer, DFFormer, GFNetPyramid
from mmfft.ops import (
    dynamic_spectral_filter,
    half_spectrum_shape,
    project_hermitian,
    spectral_filter,
    use_path,
)

GROUPS = ('filters', 'models', 'others')
GRIDS = (
    *((14, 14), (7, 7), (28, 28), (56, 56), (13, 6), (1, 1), (32, 28)),
    *((25, 42), (50, 84), (33, 4), (64, 64), (100, 168), (200, 336)),
    (128, 128),
)
SMALL_GRIDS = ((7, 7), (6, 5))
NAMED_MODELS = ('cdfformer_s18', 'dfformer_s18', 'gfnet-h-ti')
TINY = dict(embed_dims=[8, 16, 24, 32], depths=[1, 1, 1, 1])
TINY_MODELS = dict(
    cdfformer=partial(CDFFormer, TINY),
    dfformer=partial(DFFormer, TINY),
    gfnet=partial(GFNetPyramid, dict(**TINY, layer_scale=0.5)),
)
# Errors add up over the layers of a model.
MODEL_GATES = {dtype: 10 * gate for dtype, gate in GATES.items()}
MODEL_TF32_GATE = 1e-2


def judged(errors: dict[str, float], gate: float) -> dict:
    """A row with errors, of which none may exceed a gate or be no number."""
    return dict(
        {f'error_{name}': error for name, error in errors.items()},
        passed=all(error < gate for error in errors.values()),
    )


def errors_of(found, exact) -> dict[str, float]:
    """Errors of an output and its gradients."""
    names = NAMES if len(exact) == len(NAMES) else ('y', 'x', 'filter')
    return dict(zip(names, map(error_of, found, exact)))


def under(path: str | None, run: Callable[[], dict]) -> Callable[[], dict]:
    """The same check with a path forced, if there is one."""

    def check():
        with forced(path):
            return run()

    return check


def poison(device: torch.device) -> None:
    """Leave NaN in the memory that PyTorch keeps for later tensors."""
    if device.type != 'cuda':
        return
    clear(device)
    # Large tensors are cut out of large blocks, small ones out of small ones.
    sizes = [2**28, *[2**17] * 64]
    blocks = [torch.full((n,), float('nan'), device=device) for n in sizes]
    del blocks


def on_cpu(tensors, grad=None) -> list[Tensor]:
    """Exact results of a dynamic filter."""
    exact = [t.cpu().double() for t in tensors]
    return results(exactly, exact, None if grad is None else grad.double())


class Checks:
    """The checks, each of which is a case of a recorder."""

    def __init__(self, recorder: Recorder, grids, models, small: bool):
        self.recorder, self.grids, self.small = recorder, grids, small
        self.chosen = models
        self.device = recorder.device
        self.on_gpu = self.device.type == 'cuda'
        self.channels = 8 if small else 40
        self.size = (64, 64) if small else (224, 224)
        self.precisions = (False, True) if self.on_gpu else (False,)
        # The default ones of each filter, and the kernels of Triton.
        self._model_paths = (None, 'triton') if self.on_gpu else (None,)

    def check(
        self,
        name: str,
        run: Callable[[], dict],
        needs: str | None = None,
        kind: str = 'eager',
        **key,
    ) -> None:
        """Run a check, or say what it needs that is not here."""

        def case():
            if needs:
                return [dict(skipped=f'needs {needs}')]
            try:
                return [run()]
            finally:
                use_tf32(False)

        self.recorder.case(dict(check=name, **key), case, kind)

    @property
    def gpu(self) -> str | None:
        """What is missing on a CPU."""
        return None if self.on_gpu else 'CUDA'

    def paths(self, grid, dtype=torch.float32, tf32=False):
        """Paths for a grid."""
        use_tf32(tf32)
        paths = [
            path
            for path in paths_on(self.device)
            if is_for(path, grid, self.device, dtype)
        ]
        use_tf32(False)
        return paths

    def inputs(self, grid, dtype=torch.float32, device=None):
        """Map, routing and basis; also with what does not act in the basis."""
        device = device or self.device
        x, routing, basis = inputs(grid, self.channels, 3, dtype, device)
        return x, routing, torch.randn_like(basis)

    # --------------------------------------------------------------- filters

    def filters(self):
        for grid in self.grids:
            shape = text_of(grid)
            variants = [
                (dtype, 'contiguous', False) for dtype in DTYPES.values()
            ]
            variants.append((torch.float32, 'strided', False))
            if self.on_gpu:
                variants.append((torch.float32, 'contiguous', True))
            for dtype, layout, tf32 in variants:
                for path in self.paths(grid, dtype, tf32):
                    self.check(
                        'dynamic filter',
                        partial(
                            self._dynamic, grid, path, dtype, layout, tf32
                        ),
                        grid=shape,
                        path=path,
                        dtype=str(dtype).removeprefix('torch.'),
                        layout=layout,
                        tf32=tf32,
                    )
            for path in self.paths(grid):
                self.check(
                    'static filter',
                    partial(self._static, grid, path),
                    grid=shape,
                    path=path,
                )
            self.check(
                'convention of the inverse FFT',
                partial(self._convention, grid),
                grid=shape,
            )

    def _dynamic(self, grid, path, dtype, layout, tf32):
        tensors = self.inputs(grid, dtype)
        grad = torch.randn_like(tensors[0])
        if layout == 'strided':
            x = tensors[0].mT.contiguous().mT
            tensors = (x, *tensors[1:])
        exact = on_cpu(tensors, grad.cpu())
        use_tf32(tf32)
        poison(self.device)
        found = results(dynamic_spectral_filter, tensors, grad, path)
        return judged(errors_of(found, exact), gate(dtype, tf32))

    def _static(self, grid, path):
        x = self.inputs(grid)[0]
        shape = half_spectrum_shape(grid)
        filter = torch.randn(*shape, self.channels, 2, device=self.device)
        grad = torch.randn_like(x)

        exact = results(
            lambda x, filter: filtered(x, as_complex(filter)),
            [x.cpu().double(), filter.cpu().double()],
            grad.cpu().double(),
        )
        poison(self.device)
        found = results(spectral_filter, (x, filter), grad, path)
        return judged(errors_of(found, exact), GATES[torch.float32])

    def _convention(self, grid):
        """What the inverse makes of a filter that no real kernel has."""
        x, routing, basis = self.inputs(grid)
        [exact] = on_cpu((x, routing, basis))
        plain = plain_models.dynamic_spectral_filter
        kept = project_hermitian(basis, grid)
        row = judged(
            dict(
                ours=error_of(
                    dynamic_spectral_filter(x, routing, basis), exact
                ),
                plain_projected=error_of(plain(x, routing, kept), exact),
            ),
            GATES[torch.float32],
        )
        # PyTorch's FFT for CUDA uses another part of such a filter than that
        # for CPUs, so this one is not judged.
        return dict(row, plain=error_of(plain(x, routing, basis), exact))

    # ---------------------------------------------------------------- models

    def models(self):
        makers = self._makers()
        for path in self._model_paths:
            for name, make in makers.items():
                self._model(name, make, path)
        # To trace takes most of the time of a small rehearsal.
        compiled = list(makers.items())[: 1 if self.small else None]
        for mode in ('default', 'reduce-overhead'):
            for path, (name, make) in product(self._model_paths, compiled):
                self.check(
                    'compiled',
                    under(path, partial(self._compiled, make, mode)),
                    None if mode == 'default' else self.gpu,
                    kind='eager' if self.small else 'compiled',
                    model=name,
                    mode=mode,
                    path=path,
                )

    def _model(self, name, make, path):
        self.check(
            'no synchronization in a step',
            under(
                path,
                partial(self._no_waiting, partial(self._model_step, make)),
            ),
            self.gpu,
            model=name,
            path=path,
        )
        layouts = [(dtype, False, False) for dtype in DTYPES.values()]
        layouts += [(torch.float32, True, tf32) for tf32 in self.precisions]
        for dtype, channels_last, tf32 in layouts:
            run = partial(self._features, make, dtype, channels_last, tf32)
            self.check(
                'features',
                under(path, run),
                model=name,
                dtype=str(dtype).removeprefix('torch.'),
                channels_last=channels_last,
                tf32=tf32,
                path=path,
            )

    def _makers(self):
        """Functions that make the models, by their names."""
        options = dict(img_size=self.size, out_indices=-1)
        return {
            name: partial(TINY_MODELS[name], **options)
            if self.small
            else partial(build, name, self.size)
            for name in self.chosen
        }

    # ---------------------------------------------------------------- others

    def others(self):
        """Those for which a GPU must be left alone; what may fail is last."""
        for path in self._model_paths:
            self.check(
                'StarReLU in float16', under(path, self._star_relu), path=path
            )
        one = (7, 7) if self.small else (14, 14)
        for path, grid in self._each_path(one):
            key = dict(path=path, grid=text_of(grid))
            step = partial(self._filter_step, path, grid)
            for name, check in {
                'the filter in a CUDA graph': self._captured,
                'no synchronization in the filter': self._no_waiting,
            }.items():
                self.check(name, partial(check, step), self.gpu, **key)
            self.check(
                "PyTorch's new interface of precision",
                partial(self._new_interface, path, grid),
                **key,
            )
            self.check(
                'a GPU that is not the current one',
                partial(self._other_gpu, path, grid),
                None if torch.cuda.device_count() > 1 else 'two GPUs',
                **key,
            )
        self.check('deterministic', self._deterministic)
        self.check('ceilings', self._ceilings)
        self.check('plans of 150 sizes', self._plans, self.gpu)
        for path in paths_on(self.device):
            if path in self.paths((16, 16)) and path != 'export':
                self.check(
                    'more than 2^31 elements',
                    partial(self._large, path),
                    self.gpu,
                    path=path,
                )
        # NCCL ends the process where something is wrong.
        self.check(
            'one process of DDP',
            partial(self._ddp, next(iter(self._makers().values()))),
            backend='nccl' if self.on_gpu else 'gloo',
        )

    def _each_path(self, first):
        """Every path with the first grid that it is for."""
        for path in paths_on(self.device):
            fitting = [g for g in (first, *GRIDS) if path in self.paths(g)]
            if fitting:
                yield path, fitting[0]

    def _filter_step(self, path, grid):
        """A call with its exact results; it includes the gradients."""
        tensors = self.inputs(grid)
        grad = torch.randn_like(tensors[0])
        call = partial(results, dynamic_spectral_filter, tensors, grad, path)
        return call, lambda: on_cpu(tensors, grad.cpu())

    def _model_step(self, make):
        model = make().to(self.device).train()
        x = torch.randn(4, 3, *self.size, device=self.device)
        return lambda: features(model, x).float().mean().backward(), None

    def _no_waiting(self, prepare):
        call, _ = prepare()
        call()  # tables, plans and kernels are made
        with no_synchronization():
            call()
        return dict(passed=True)

    def _captured(self, prepare):
        call, exact = prepare()
        call()
        outputs = []
        graph = capture_graph([lambda: outputs.append(call())], self.device)
        for output in outputs[-1]:
            output.fill_(float('nan'))
        graph.replay()
        errors = errors_of(outputs[-1], exact())
        return judged(errors, GATES[torch.float32])

    def _new_interface(self, path, grid):
        call, exact = self._filter_step(path, grid)
        torch.backends.cuda.matmul.fp32_precision = 'tf32'
        return judged(errors_of(call(), exact()), gate(torch.float32, True))

    def _other_gpu(self, path, grid):
        other = torch.device('cuda', torch.cuda.device_count() - 1)
        tensors = self.inputs(grid, device=other)
        grad = torch.randn_like(tensors[0])
        exact = on_cpu(tensors, grad.cpu())
        found = results(dynamic_spectral_filter, tensors, grad, path)
        return judged(errors_of(found, exact), GATES[torch.float32])

    def _star_relu(self):
        """Sums over all points exceed the range of float16."""
        shape = (2, 8, 8, 8) if self.small else (64, 56, 56, 64)
        x = torch.randn(shape, dtype=torch.float16, device=self.device)
        grad = torch.full_like(x, 2.0)
        layer = StarReLU().to(self.device)

        def run(x, *weights):
            return torch.func.functional_call(
                layer, dict(zip(('scale', 'bias'), weights)), x
            )

        def formula(x, scale, bias):
            return scale * x.relu() ** 2 + bias

        weights = list(layer.parameters())
        found = results(run, [x, *weights], grad)
        exact = results(
            formula, [t.detach().double() for t in (x, *weights)], grad
        )
        errors = map(error_of, found, exact)
        return judged(
            dict(zip(('y', 'x', 'scale', 'bias'), errors)),
            GATES[torch.float16],
        )

    def _features(self, make, dtype, channels_last, tf32):
        torch.manual_seed(0)
        model, x = make().eval(), torch.randn(2, 3, *self.size)
        with torch.no_grad():
            exact = features(model.double(), x.double())
        layout = (
            torch.channels_last if channels_last else torch.contiguous_format
        )
        model = model.float().to(self.device, memory_format=layout)
        x = x.to(self.device, memory_format=layout)
        torch.backends.cudnn.allow_tf32 = tf32
        with torch.no_grad(), autocast(self.device, dtype):
            found = features(model, x)
        limit = max(MODEL_GATES[dtype], MODEL_TF32_GATE if tf32 else 0)
        return judged(dict(y=error_of(found, exact)), limit)

    def _step(self, model, run, x):
        """Features, and all gradients as one vector."""
        model.zero_grad()
        y = run(x)
        y.float().square().mean().backward()
        # Single ones may be zero but for rounding.
        grads = [p.grad.flatten() for p in model.parameters()]
        return [y.detach().clone(), torch.cat(grads)]

    def _compiled(self, make, mode):
        torch.compiler.reset()
        counters = torch._dynamo.utils.counters
        counters.clear()
        torch.manual_seed(0)
        model = make().to(self.device).train()
        x = torch.randn(4, 3, *self.size, device=self.device)
        run = partial(features, model)
        exact = self._step(model, run, x)
        compiled = torch.compile(run, fullgraph=True, dynamic=False, mode=mode)
        for _ in range(3):
            found = self._step(model, compiled, x)
        errors = dict(zip(('y', 'gradients'), map(error_of, found, exact)))
        row = judged(errors, MODEL_GATES[torch.float32])
        # Parts that PyTorch did not record as CUDA graphs.
        return dict(row, skips=counters['inductor']['cudagraph_skips'])

    def _deterministic(self):
        """Also where filters are resized, by an operator that is not."""
        size = tuple(n + 32 * i for i, n in enumerate(self.size, 1))
        make = TINY_MODELS['cdfformer']
        model = make(img_size=self.size, out_indices=-1).to(self.device)
        x = torch.randn(2, 3, *size, device=self.device)
        torch.use_deterministic_algorithms(True)
        try:
            first, second = (
                self._step(model, partial(features, model), x)
                for _ in range(2)
            )
        finally:
            torch.use_deterministic_algorithms(False)
        return dict(passed=all(map(torch.equal, first, second)))

    def _ddp(self, make):
        model = make().to(self.device).train()
        x = torch.randn(2, 3, *self.size, device=self.device)
        exact = self._step(model, partial(features, model), x)
        distributed.init_process_group(
            'nccl' if self.on_gpu else 'gloo',
            store=distributed.HashStore(),
            rank=0,
            world_size=1,
        )
        try:
            wrapped = DistributedDataParallel(Features(model))
            found = self._step(wrapped, wrapped, x)
        finally:
            distributed.destroy_process_group()
        errors = dict(zip(('y', 'gradients'), map(error_of, found, exact)))
        return judged(errors, MODEL_GATES[torch.float32])

    def _plans(self):
        """Memory of cuFFT's plans, which PyTorch does not count."""
        plans = torch.backends.cuda.cufft_plan_cache[
            torch.cuda.current_device()
        ]
        plans.clear()
        clear(self.device)
        before = torch.cuda.mem_get_info(self.device)[0]
        with use_path('fft'):
            for i in range(150):
                dynamic_spectral_filter(*self.inputs((20 + i, 31 + i)))
        synchronize(self.device)
        count, limit = plans.size, plans.max_size
        clear(self.device)
        memory = before - torch.cuda.mem_get_info(self.device)[0]
        return dict(plans=count, limit=limit, memory=memory)

    def _large(self, path):
        """All images are the same, and so must be all results."""
        images, dtype = 8400, torch.bfloat16
        x, routing, basis = inputs((16, 16), 1024, 1, dtype, self.device)
        x = x.expand(images, -1, -1, -1).contiguous()
        routing = routing.expand(images, -1, -1).contiguous()
        [y] = results(dynamic_spectral_filter, (x, routing, basis), path=path)
        assert y.numel() > 2**31
        [exact] = on_cpu((x[:1], routing[:1], basis))
        ends = dict(first=error_of(y[:1], exact), last=error_of(y[-1:], exact))
        return judged(ends, GATES[dtype])

    def _ceilings(self):
        """What this machine reaches with the simplest operations."""
        n = 2**29 if self.on_gpu else 2**22
        a = torch.ones(n, device=self.device)
        b = torch.empty_like(a)
        row = dict(copy=2 * a.nbytes / self._seconds(lambda: b.copy_(a)))
        del a, b
        # What a channels-last map goes through before PyTorch's FFT.
        batch = 128 if self.on_gpu else 1
        x = torch.ones(batch, 56, 56, 128, device=self.device)
        seconds = self._seconds(lambda: x.permute(0, 3, 1, 2).contiguous())
        row['transposing_copy'] = 2 * x.nbytes / seconds
        n = 8192 if self.on_gpu else 256
        for dtype, tf32 in product(DTYPES.values(), self.precisions):
            if tf32 and dtype != torch.float32:
                continue
            use_tf32(tf32)
            a, b = torch.randn(2, n, n, device=self.device).to(dtype)
            name = f'flops_{"tf32" if tf32 else dtype}'
            seconds = self._seconds(lambda a=a, b=b: a @ b)
            row[name.replace('torch.', '')] = 2 * n**3 / seconds
        return row

    def _seconds(self, call):
        clock = event_seconds if self.on_gpu else None
        times = time_in_turns(dict(call=call), self.device, 5, clock)
        return min(times['call'])


class Features(torch.nn.Module):
    """The last feature map of a model."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return features(self.model, x)


def main(argv=None):
    p = run_parser(__doc__.splitlines()[0])
    p.add_argument('--only', choices=GROUPS, help='only one group')
    p.add_argument(
        '--grids', nargs='+', type=size_of, help='grids of the filters'
    )
    p.add_argument(
        '--models',
        nargs='+',
        choices=(*NAMED_MODELS, *TINY_MODELS),
        help='models, of which those without a size are the small ones',
    )
    p.add_argument(
        '--small', action='store_true', help='small grids and models'
    )
    args = p.parse_args(argv)
    every = tuple(TINY_MODELS) if args.small else NAMED_MODELS
    models = args.models or every
    if not set(models) <= set(every):
        p.error(f'--models: choose from {", ".join(every)}')
    grids = args.grids or (SMALL_GRIDS if args.small else GRIDS)
    if args.device != 'cpu':
        # PyTorch before 2.11 wants it, and reads it at the first product.
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    recorder = Recorder('checks', args, argv)
    checks = Checks(recorder, grids, models, args.small)
    for group in [args.only] if args.only else GROUPS:
        getattr(checks, group)()
    return recorder.finish()


if __name__ == '__main__':
    sys.exit(main())
