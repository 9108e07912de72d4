# Copyright (c) mmfft authors. All rights reserved.
import json
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from tiny_models import TINY
from tiny_runs import warnings_of
from torch import nn
from torch.utils.data import Dataset

from mmfft.checkpoints import publish, read_file
from mmfft.engine import FilterStatsHook
from mmfft.errors import ConfigError
from mmfft.models import CDFFormer

pytestmark = pytest.mark.usefixtures('quick_runs')

PER_EPOCH = 4
# Grids of 3x5 and 2x3 at the dynamic stages.
SIZE = (48, 80)
# Of a backbone whose last two stages are dynamic.
LAYERS = ['stages.2.0', 'stages.2.1', 'stages.3.0']


def backbone(**kwargs):
    return CDFFormer(TINY, img_size=SIZE, out_norm=False, **kwargs)


class Noise(Dataset):
    metainfo = dict(classes=('a',))

    def __len__(self):
        return 2 * PER_EPOCH

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        return dict(inputs=torch.randn(3, *SIZE, generator=generator))


class Model(BaseModel):
    def __init__(self, **kwargs):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = backbone(**kwargs)

    def forward(self, inputs, mode='tensor'):
        self.seen = torch.stack(list(inputs))
        return dict(loss=sum(m.square().mean() for m in self.run(self.seen)))

    def run(self, x):
        return self.backbone(x)


class Two(Model):
    """Two backbones with the same names of layers."""

    def __init__(self):
        super().__init__()
        self.other = nn.ModuleDict(dict(backbone=self.backbone))
        self.backbone = backbone()

    def run(self, x):
        return (*self.backbone(x), *self.other['backbone'](x))


@pytest.fixture
def train(tmp_path):
    """Train a model with the hook; its Runner and the lines of the log."""
    runs = iter(range(99))

    def run(model=None, hooks=(), epochs=2, train_cfg=None, **more):
        folder = tmp_path / str(next(runs))
        stats = more.pop('stats', dict(interval=2))
        runner = Runner(
            **{
                **dict(
                    model=model or Model(),
                    work_dir=str(folder),
                    train_dataloader=dict(
                        batch_size=2,
                        num_workers=0,
                        dataset=Noise(),
                        sampler=dict(type='DefaultSampler', shuffle=False),
                    ),
                    train_cfg=train_cfg
                    or dict(by_epoch=True, max_epochs=epochs),
                    optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
                    custom_hooks=[
                        dict(type='mmfft.FilterStatsHook', **stats),
                        *hooks,
                    ],
                    visualizer=dict(
                        type='Visualizer',
                        vis_backends=[dict(type='LocalVisBackend')],
                    ),
                    default_scope='mmengine',
                    experiment_name=f'stats_{tmp_path.name}_{folder.name}',
                ),
                **more,
            }
        )
        runner.said = warnings_of(runner)
        (log,) = folder.rglob('scalars.json')
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        return runner, [x for x in lines if 'loss' not in x]

    return run


def names(*kinds, layers=LAYERS):
    return {f'{kind}/{layer}' for kind in kinds for layer in layers}


def mixer(model, name):
    return model.get_submodule(f'backbone.{name}.token_mixer')


def routing_of(model):
    """Distance from uniform of each dynamic layer, from its formula."""
    found, handles = {}, []

    def note(name):
        def hook(module, args):
            weights = module.routing(args[0])
            n = module.num_filters
            total = (weights - 1 / n).abs().sum(dim=1).mean()
            found[name] = (total / (2 * (1 - 1 / n))).item()

        return hook

    for name in LAYERS:
        handles.append(
            mixer(model, name).register_forward_pre_hook(note(name))
        )
    with torch.no_grad():
        model.backbone(model.seen)
    for handle in handles:
        handle.remove()
    return found


def kernels_of(model):
    kernels = {}
    for name in LAYERS:
        basis = mixer(model, name).basis
        half = torch.view_as_complex(basis.weight.detach())
        kernels[name] = torch.fft.irfft2(half, s=basis.size, dim=(0, 1))
    return kernels


def check_moved(line, before, model):
    """By Parseval's theorem, a spectrum's energy is that of its kernel."""
    for name, after in kernels_of(model).items():
        moved = (after - before[name]).square().sum()
        expected = (moved / before[name].square().sum()).item()
        assert expected > 0.001
        logged = line[f'filter_moved/{name}']
        assert logged == pytest.approx(expected, 1e-4)


STILL = dict(optimizer=dict(type='SGD', lr=0.0))


def test_routing(train):
    """The trained model is the one that was measured: nothing moves."""
    model = Model()
    uniform, one_hot, between = (
        mixer(model, name).reweight.fc2.weight for name in LAYERS
    )
    nn.init.zeros_(uniform)
    nn.init.normal_(one_hot, std=1e6)
    nn.init.normal_(between, std=300)
    runner, (*_, line) = train(model, optim_wrapper=STILL)
    assert line[f'routing/{LAYERS[0]}'] == 0
    assert line[f'routing/{LAYERS[1]}'] == pytest.approx(1, abs=1e-3)
    for name, expected in routing_of(runner.model).items():
        assert line[f'routing/{name}'] == pytest.approx(expected, 1e-4)
        assert line[f'filter_moved/{name}'] == 0
    assert 0.1 < expected < 0.9


def test_energy(train):
    model = Model()
    before = kernels_of(model)
    runner, lines = train(model)
    assert [line['step'] for line in lines] == [2, 4, 6, 8]
    wanted = names('routing', 'filter_moved') | {'step'}
    assert all(set(line) == wanted for line in lines)
    check_moved(lines[-1], before, runner.model)
    # What is in there is printed in each line of the console.
    kept = runner.message_hub.log_scalars
    assert not any('routing' in key or 'moved' in key for key in kept)


def test_what_changes_nothing(train):
    """Recomputed activations, hooks in between, a frozen layer."""
    _, expected = train()
    model = Model(with_cp=True)
    frozen = mixer(model, LAYERS[1]).basis.weight.requires_grad_(False)
    start = frozen.clone()
    hooked = []

    class Look(Hook):
        def after_train_iter(self, runner, **kwargs):
            hooked.append(
                sum(len(m._forward_hooks) for m in runner.model.modules())
            )

        before_train_iter = after_train_iter
        priority = 'LOWEST'

    runner, lines = train(model, hooks=[Look()])
    assert hooked == [0, 0, 3, 0] * 4
    assert torch.equal(frozen, start)
    key = f'filter_moved/{LAYERS[1]}'
    assert [line[key] for line in lines] == [0] * 4
    # The first, as the frozen layer makes a difference later.
    for key in names('routing'):
        assert lines[0][key] == pytest.approx(expected[0][key], 1e-3)


def test_a_resumed_run_goes_on(train):
    straight, expected = train(epochs=3)
    file = Path(straight.work_dir, 'epoch_1.pth')
    resumed = dict(epochs=3, resume=True, load_from=str(file))
    runner, lines = train(**resumed)
    assert lines == expected[2:]
    assert 'filter_moved' not in runner.said
    # Nor does it end there.
    last = read_file(str(Path(runner.work_dir, 'epoch_3.pth')))
    for name, weight in last['filters_at_start'].items():
        assert torch.equal(weight, mixer(Model(), name).basis.weight)
    # What is given to others does not have it.
    published = publish(str(file), str(file.with_name('out.pth')))
    assert set(read_file(str(published))) == {'meta', 'state_dict'}


def test_resumed_from_a_file_without_the_start(train):
    straight, expected = train()
    file = Path(straight.work_dir, 'epoch_1.pth')
    checkpoint = read_file(str(file))
    before = Model()
    before.load_state_dict(checkpoint['state_dict'])
    before = kernels_of(before)
    del checkpoint['filters_at_start']
    torch.save(checkpoint, file)
    runner, lines = train(resume=True, load_from=str(file))
    assert runner.said.count('filter_moved counts from here') == 1
    check_moved(lines[-1], before, runner.model)
    for name in LAYERS:
        key = f'routing/{name}'
        assert [x[key] for x in lines] == [x[key] for x in expected[2:]]


def test_a_start_from_other_weights(train):
    """It is a start: what the file says of its own does not count."""
    runner, _ = train()
    file = str(Path(runner.work_dir, 'epoch_2.pth'))
    _, lines = train(load_from=file, optim_wrapper=STILL)
    assert lines[0][f'filter_moved/{LAYERS[0]}'] == 0


def test_several_backbones(train):
    _, lines = train(Two())
    others = [f'other.backbone.{layer}' for layer in LAYERS]
    wanted = names('routing', 'filter_moved', layers=LAYERS + others)
    assert set(lines[0]) == wanted | {'step'}


def test_by_epoch(train):
    _, expected = train(stats=dict(interval=1))
    _, lines = train(stats=dict(interval=2, by_epoch=True))
    assert lines == [dict(expected[2 * PER_EPOCH - 1], step=2)]


def test_what_has_no_routing(train):
    model = Model(num_filters=1)
    _, lines = train(model)
    assert set(lines[0]) == names('filter_moved') | {'step'}


def test_compiled(train):
    model = Model()
    for name in LAYERS:
        layer = mixer(model, name)
        layer.forward = torch.compile(layer.forward, backend='eager')
    runner, lines = train(model)
    assert set(lines[0]) == names('filter_moved') | {'step'}
    assert runner.said.count('routing of a compiled model') == 1


def test_wrong_settings(train):
    with pytest.raises(ConfigError, match='interval .* from 1 up, got 0'):
        FilterStatsHook(interval=0)
    model = Model(token_mixers=('SepConv',) * 4)
    with pytest.raises(ConfigError, match='Model has no filter'):
        train(model)
    by_iteration = dict(by_epoch=False, max_iters=2)
    with pytest.raises(ConfigError, match='counts iterations'):
        train(train_cfg=by_iteration, stats=dict(by_epoch=True))
