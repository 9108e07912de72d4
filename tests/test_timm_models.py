# Copyright (c) mmfft authors. All rights reserved.
"""What timm's own tests ask of a model, over all of ours."""

import copy
from pathlib import Path

import pytest
import timm
import torch
from published_records import (
    RECORDS,
    published_state_dict,
    recorded_input,
)
from timm.models import FeatureInfo, group_parameters
from timm.optim import param_groups_layer_decay, param_groups_weight_decay

from mmfft import models, timm_models
from mmfft.checkpoints.writing import content_of, write_new
from mmfft.errors import ConfigError
from mmfft.layers import HalfSpectrum

# Parameters at 224 pixels and 1000 classes, counted in the published code.
PUBLISHED = {
    'dfformer_s18': 30324372,
    'dfformer_s36': 45610656,
    'dfformer_m36': 65316064,
    'dfformer_b36': 114989344,
    'cdfformer_s18': 30193512,
    'cdfformer_s36': 45230658,
    'cdfformer_m36': 64433218,
    'cdfformer_b36': 113368642,
    'gfformer_s18': 29639856,
    'dfformer_s18_k2': 28526004,
    'dfformer_s18_d8': 28333716,
    'dfformer_s18_gelu': 30324300,
    'dfformer_s18_relu': 30324300,
    'dfformer_s18_afno': 29864112,
    'gfnet_ti': 7511784,
    'gfnet_xs': 15985768,
    'gfnet_s': 24869608,
    'gfnet_b': 43120616,
    'gfnet_h_ti': 15085096,
    'gfnet_h_s': 32162632,
    'gfnet_h_b': 53744200,
}
# Of mmfft's own archs, counted here.
OWN = {
    'dfformer_nano': 1436380,
    'dfformer_micro': 4265490,
    'dfformer_mini': 7677682,
    'cdfformer_nano': 1420600,
    'cdfformer_micro': 4247022,
    'cdfformer_mini': 7649518,
    'gfnet_h_nano': 1280064,
    'gfnet_h_micro': 3507944,
    'gfnet_h_mini': 5872696,
}
COUNTS = PUBLISHED | OWN
RELEASED = {
    f'{family}_{arch}'
    for family in ('dfformer', 'cdfformer')
    for arch in ('s18', 's36', 'm36', 'b36')
}
SIZE, CLASSES = 32, 10


def is_isotropic(name):
    return name.startswith('gfnet_') and not name.startswith('gfnet_h_')


@pytest.fixture(scope='module', params=COUNTS)
def name(request):
    return request.param


def create_quickly(name, **kwargs):
    """A model with PyTorch's initialization, which takes less time."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for module in (timm_models, models.base):
            monkeypatch.setattr(module, 'initialize', lambda *args: None)
        return timm.create_model(name, **kwargs)


@pytest.fixture(scope='module')
def shared_model(name):
    """One of each variant in evaluation mode, left as it was found."""
    torch.manual_seed(0)
    return create_quickly(name, img_size=SIZE, num_classes=CLASSES).eval()


@pytest.fixture(scope='module')
def images():
    return torch.randn(2, 3, SIZE, SIZE)


@pytest.fixture(scope='module')
def logits(shared_model, images):
    with torch.no_grad():
        return shared_model(images)


@pytest.fixture(scope='module')
def features(shared_model, images):
    with torch.no_grad():
        return shared_model.forward_features(images)


@pytest.fixture(scope='module')
def levels(shared_model, images):
    """All intermediate features."""
    with torch.no_grad():
        return shared_model.forward_intermediates(images)[1]


def test_all_variants_are_registered():
    assert set(timm.list_models(module='timm_models')) == set(COUNTS)
    assert set(timm.list_models(module='timm_models', pretrained=True)) == {
        f'{name}.in1k' for name in RELEASED
    }


def test_number_of_parameters(name):
    with torch.device('meta'):
        model = create_quickly(name)
    assert sum(p.numel() for p in model.parameters()) == COUNTS[name]


def test_it_learns_with_and_without_checkpointing(shared_model, images):
    model = shared_model.train()
    stem = model.get_submodule(model.pretrained_cfg['first_conv'])
    runs = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        logits = model(images)
        assert logits.shape == (2, CLASSES)
        logits.square().mean().backward()
        # The stem's gradient came through every block.
        runs.append((logits, stem.weight.grad))
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    torch.testing.assert_close(*runs)
    model.eval().set_grad_checkpointing(False)
    model.zero_grad()


def test_checkpointing_recomputes_the_blocks():
    model = timm.create_model('gfnet_ti', img_size=SIZE)
    calls = []
    # Recomputation stops before the block is left, no later hook sees it.
    model.backbone.blocks[3].register_forward_pre_hook(
        lambda *args: calls.append(1)
    )
    for enable, expected in ((True, 2), (False, 1)):
        model.set_grad_checkpointing(enable)
        calls.clear()
        model(torch.randn(1, 3, SIZE, SIZE)).sum().backward()
        assert len(calls) == expected


def test_default_cfg(name, shared_model, features):
    model, cfg = shared_model, shared_model.pretrained_cfg
    assert model.default_cfg is cfg
    assert cfg['architecture'] == name
    assert cfg['input_size'] == (3, 224, 224)
    assert cfg['num_classes'] == 1000
    assert cfg['interpolation'] == 'bicubic'
    assert cfg['crop_pct'] == (0.875 if 'gfnet' in name else 1.0)
    assert cfg['mean'] == timm.data.IMAGENET_DEFAULT_MEAN
    assert cfg['std'] == timm.data.IMAGENET_DEFAULT_STD
    assert cfg.get('url') == (
        'https://github.com/okojoalg/dfformer/releases/download/weights/'
        f'{name}.pth'
        if name in RELEASED
        else None
    )
    assert cfg['paper_ids']
    assert ('origin_url' in cfg) == (name in PUBLISHED)
    assert cfg['license'] == ('mit' if name in PUBLISHED else 'apache-2.0')
    assert model.get_submodule(cfg['classifier']) is model.get_classifier()
    assert model.get_submodule(cfg['first_conv']).in_channels == 3
    assert features.shape[:2] == (2, model.num_features)
    grid = [n * 224 // SIZE for n in features.shape[2:]]
    assert grid == list(cfg['pool_size'])


def test_classifier(shared_model, logits, features):
    model = copy.copy(shared_model)
    # Only the head is changed here.
    model._modules = dict(
        shared_model._modules, head=copy.deepcopy(shared_model.head)
    )
    hidden, grid = model.head_hidden_size, features.shape[2:]
    with torch.no_grad():
        torch.testing.assert_close(model.forward_head(features), logits)
        pre_logits = model.forward_head(features, pre_logits=True)
        assert pre_logits.shape == (2, hidden)
        torch.testing.assert_close(model.get_classifier()(pre_logits), logits)

        model.reset_classifier(0)
        assert model.num_classes == 0
        torch.testing.assert_close(model.forward_head(features), pre_logits)
        model.reset_classifier(0, '')
        assert model.forward_head(features).shape == (2, hidden, *grid)
        model.reset_classifier(5)
        dense = model.forward_head(features)
        assert dense.shape == (2, 5, *grid)
        one = model.forward_head(features[:, :, :1, :1])
        torch.testing.assert_close(dense[:, :, :1, :1], one)
        model.reset_classifier(7, 'max')
        assert model.num_classes == 7
        assert model.forward_head(features).shape == (2, 7)
    assert not any(module.training for module in model.modules())


def test_the_boundary_is_an_argument():
    model = timm.create_model('cdfformer_nano', boundary='zero', img_size=64)
    filters = [m for m in model.modules() if isinstance(m, HalfSpectrum)]
    assert {f.boundary for f in filters} == {('zero', 'zero')}
    with pytest.raises(ConfigError, match="got 'same'"):
        timm.create_model('gfnet_h_nano', boundary='same', img_size=64)


def test_features_only(name, shared_model, images, levels, monkeypatch):
    # All that timm does, on a copy of a model instead of a fresh one.
    monkeypatch.setattr(
        timm_models,
        'FourierClassifier',
        lambda **kwargs: copy.deepcopy(shared_model),
    )
    net = timm.create_model(name, features_only=True)
    with torch.no_grad():
        outs = net(images)
    torch.testing.assert_close(outs, levels[-3 if is_isotropic(name) else 0 :])
    assert [out.shape[1] for out in outs] == net.feature_info.channels()
    reductions = [SIZE // out.shape[2] for out in outs]
    assert reductions == net.feature_info.reduction()


@pytest.mark.parametrize(
    'name, indices',
    [
        ('cdfformer_s18', (0, 2)),
        ('gfnet_h_ti', (-2,)),
        ('gfnet_ti', (1, 4)),
        ('gfnet_ti', 2),
    ],
)
def test_features_only_of_some_levels(name, indices):
    torch.manual_seed(0)
    whole = timm.create_model(name, img_size=SIZE).eval()
    torch.manual_seed(0)
    net = timm.create_model(
        name, img_size=SIZE, features_only=True, out_indices=indices
    ).eval()
    x = torch.randn(1, 3, SIZE, SIZE)
    with torch.no_grad():
        outs = net(x)
        levels = whole.forward_intermediates(x, intermediates_only=True)
    if indices == 2:
        indices = (-2, -1)
    torch.testing.assert_close(outs, [levels[i] for i in indices])
    assert [out.shape[1] for out in outs] == net.feature_info.channels()
    # Nothing is kept that these features do not need.
    sum(out.sum() for out in net(x)).backward()
    assert all(p.grad is not None for p in net.parameters())


def test_forward_intermediates(name, shared_model, images, features, levels):
    model = shared_model
    info = FeatureInfo(model.feature_info, len(model.feature_info))
    assert [level.shape[1] for level in levels] == info.channels()
    assert [SIZE // level.shape[2] for level in levels] == info.reduction()
    with torch.no_grad():
        final, [first, last] = model.forward_intermediates(
            images, (0, -1), norm=True, output_fmt='NHWC'
        )
        torch.testing.assert_close(final, features)
        torch.testing.assert_close(last.permute(0, 3, 1, 2), features)
        if not is_isotropic(name):
            torch.testing.assert_close(first.permute(0, 3, 1, 2), levels[0])

        early, [second] = model.forward_intermediates(
            images, [1], stop_early=True
        )
        torch.testing.assert_close(second, levels[1])
        assert early.shape == second.shape


def test_parameter_groups(shared_model):
    model = shared_model
    names = [name for name, _ in model.named_parameters()]
    depths = model.backbone.arch.get('depths')
    blocks = sum(depths) if depths else model.backbone.arch['depth']
    stages = len(depths) if depths else blocks
    for coarse, count in ((False, blocks + 2), (True, stages + 2)):
        groups = group_parameters(model, model.group_matcher(coarse=coarse))
        assert len(groups) == count
        assert sorted(sum(groups.values(), [])) == sorted(names)
        assert model.pretrained_cfg['first_conv'] + '.weight' in groups[0]
        assert (
            model.pretrained_cfg['classifier'] + '.weight' in groups[count - 1]
        )
    decayed = param_groups_layer_decay(
        model, layer_decay=0.5, no_weight_decay_list=model.no_weight_decay()
    )
    scales = {group['lr_scale'] for group in decayed}
    assert scales == {0.5**i for i in range(blocks + 2)}
    no_decay, decay = param_groups_weight_decay(
        model, 0.1, no_weight_decay_list=model.no_weight_decay()
    )
    assert [no_decay['weight_decay'], decay['weight_decay']] == [0, 0.1]
    decayed = {id(parameter) for parameter in decay['params']}
    for name, parameter in model.named_parameters():
        spared = parameter.ndim == 1 or 'pos_embed' in name
        assert (id(parameter) in decayed) != spared, name


def test_state_dict_round_trip(name, shared_model, images, logits):
    with torch.device('meta'):
        other = create_quickly(name, img_size=SIZE, num_classes=CLASSES)
    other.load_state_dict(shared_model.state_dict(), strict=True, assign=True)
    with torch.no_grad():
        torch.testing.assert_close(other.eval()(images), logits)


def recorded(arch):
    return next(
        record
        for record in RECORDS
        if (record['arch'], record['img_size'], record['task'])
        == (arch, 224, 'classify')
    )


def published_file(folder, arch, wrapper=None):
    weights = published_state_dict(arch)
    torch.save({wrapper: weights} if wrapper else weights, folder / arch)
    return dict(file=str(folder / arch))


@pytest.mark.parametrize(
    'arch, wrapper',
    [('cdfformer_s18', None), ('gfnet-ti', 'model'), ('gfnet-h-ti', None)],
)
def test_published_checkpoint_gives_the_published_logits(
    arch, wrapper, tmp_path
):
    model = timm.create_model(
        arch.replace('-', '_'),
        pretrained=True,
        pretrained_cfg_overlay=published_file(tmp_path, arch, wrapper),
    ).eval()
    record = recorded(arch)
    with torch.no_grad():
        logits = model(recorded_input(record))
    expected = torch.tensor(record['logits'])
    assert (logits - expected).norm() < 1e-5 * expected.norm()


def test_published_checkpoint_is_adapted(tmp_path):
    overlay = published_file(tmp_path, 'gfnet-ti')
    published = published_state_dict('gfnet-ti')
    model = timm.create_model(
        'gfnet_ti',
        pretrained=True,
        pretrained_cfg_overlay=overlay,
        in_chans=1,
        num_classes=5,
        img_size=96,
    )
    state = model.state_dict()
    torch.testing.assert_close(
        state['backbone.patch_embed.proj.weight'],
        published['patch_embed.proj.weight'].sum(dim=1, keepdim=True),
    )
    torch.testing.assert_close(
        state['backbone.blocks.3.mlp.fc1.weight'],
        published['blocks.3.mlp.fc1.weight'],
    )
    assert state['backbone.pos_embed.weight'].shape == (1, 36, 256)
    assert state['head.fc.weight'].shape == (5, 256)

    net = timm.create_model(
        'gfnet_ti',
        pretrained=True,
        pretrained_cfg_overlay=overlay,
        features_only=True,
        out_indices=(3, 11),
    ).eval()
    record = recorded('gfnet-ti')
    with torch.no_grad():
        _, last = net(recorded_input(record))
        head = torch.nn.functional.layer_norm(
            last.permute(0, 2, 3, 1),
            (256,),
            published['norm.weight'],
            published['norm.bias'],
            eps=1e-6,
        ).mean(dim=(1, 2))
    expected = torch.tensor(record['logits'])
    logits = head @ published['head.weight'].T + published['head.bias']
    assert (logits - expected).norm() < 1e-5 * expected.norm()


def test_wrong_checkpoint_is_named(tmp_path):
    with pytest.raises(ConfigError, match='nothing in the checkpoint fits'):
        timm.create_model(
            'gfnet_ti',
            pretrained=True,
            pretrained_cfg_overlay=published_file(tmp_path, 'cdfformer_s18'),
        )


def test_weights_that_are_not_there(tmp_path):
    missing = str(tmp_path / 'missing.pth')
    for overlay in (dict(file=missing), dict(file=Path(missing))):
        with pytest.raises(ConfigError) as e:
            timm.create_model(
                'gfnet_ti', pretrained=True, pretrained_cfg_overlay=overlay
            )
        assert f'file {missing!r} does not exist' in str(e.value)
    # Before the address that the variant has.
    with pytest.raises(ConfigError, match='does not exist'):
        timm.create_model(
            'cdfformer_s18',
            pretrained=True,
            pretrained_cfg_overlay=dict(file=missing),
        )
    for given in ({}, dict(pretrained_cfg_overlay=dict(crop_pct=1.0))):
        with pytest.raises(ConfigError) as e:
            timm.create_model('gfnet_ti', pretrained=True, **given)
        assert "pretrained_cfg_overlay=dict(file='...')" in str(e.value)
        assert 'raoyongming/GFNet' in str(e.value)
    with pytest.raises(ConfigError, match='own, for which no weights exist'):
        timm.create_model('gfnet_h_nano', pretrained=True)
    timm.create_model(
        'gfnet_ti', pretrained_cfg_overlay=dict(file=missing), img_size=SIZE
    )


def test_arguments_reach_the_model():
    model = timm.create_model(
        'gfnet_h_ti',
        in_chans=2,
        num_classes=0,
        global_pool='',
        img_size=(64, 96),
        drop_rate=0.3,
        drop_path_rate=0.2,
        filter_resize='kernel',
    )
    assert model.backbone.img_size == (64, 96)
    assert model.head.dropout.p == 0.3
    assert model.backbone.blocks[-1][-1].drop_path.drop_prob == 0.2
    # Any other size works too.
    assert model(torch.randn(1, 2, 70, 40)).shape == (1, 512, 3, 2)


@pytest.fixture(
    params=[
        ('cdfformer_nano', dict(img_size=64, num_classes=5)),
        ('gfnet_h_nano', dict(img_size=(64, 96), filter_resize='kernel')),
        ('dfformer_nano', dict(in_chans=2, num_classes=0, global_pool='')),
        ('gfnet_ti', dict(img_size=32, num_classes=5)),
    ],
    ids=lambda param: param[0],
)
def on_hub(request, tmp_path):
    """A model, and the name by which timm finds its folder."""
    name, kwargs = request.param
    torch.manual_seed(0)
    model = timm.create_model(name, **kwargs).eval()
    timm.models.save_for_hf(model, tmp_path / 'hub', safe_serialization=True)
    return model, f'local-dir:{tmp_path / "hub"}'


def test_the_layout_of_the_hub(on_hub):
    model, folder = on_hub
    images = torch.randn(2, model.in_chans, 64, 64)
    again = timm.create_model(folder, pretrained=True).eval()
    net = timm.create_model(folder, pretrained=True, features_only=True)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))
        levels = model.forward_intermediates(images, intermediates_only=True)
        outs = net.eval()(images)
    assert len(outs) in (3, 4)
    for out, level in zip(outs, levels[-len(outs) :]):
        assert torch.equal(out, level)
    other = timm.create_model(folder, pretrained=True, num_classes=7).eval()
    with torch.no_grad():
        assert other(images).shape[1] == 7
        assert torch.equal(
            other.forward_features(images), model.forward_features(images)
        )


def test_the_layout_of_the_hub_at_another_size(on_hub):
    """Given to a new model, or set: the filters are resized once."""
    model, folder = on_hub
    other = timm.create_model(folder, pretrained=True, img_size=96).eval()
    assert other.backbone.img_size == (96, 96)
    model.set_input_size(96)
    images = torch.randn(2, model.in_chans, 96, 96)
    with torch.no_grad():
        assert torch.equal(other(images), model(images))


def test_a_size_that_was_set_is_saved(tmp_path):
    model = timm.create_model('gfnet_h_nano', img_size=32, num_classes=5)
    model.eval().set_input_size((64, 96))
    timm.models.save_for_hf(model, tmp_path / 'hub', safe_serialization=True)
    again = timm.create_model(
        f'local-dir:{tmp_path / "hub"}', pretrained=True
    ).eval()
    assert again.backbone.img_size == (64, 96)
    images = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(again(images), model(images))


@pytest.mark.parametrize('given', ['pretrained_cfg', 'checkpoint_path'])
def test_safetensors(given, tmp_path):
    model = timm.create_model('gfnet_h_nano', img_size=32)
    file = str(tmp_path / 'weights.safetensors')
    checkpoint = dict(meta=dict(epoch=1), state_dict=model.state_dict())
    write_new(file, content_of(checkpoint, file))
    options = (
        dict(checkpoint_path=file)
        if given == 'checkpoint_path'
        else dict(pretrained=True, pretrained_cfg=dict(file=file))
    )
    again = timm.create_model('gfnet_h_nano', img_size=32, **options)
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_published_safetensors(tmp_path):
    published = published_state_dict('gfnet-ti')
    file = str(tmp_path / 'weights.safetensors')
    write_new(file, content_of(published, file))
    model = timm.create_model(
        'gfnet_ti', pretrained=True, pretrained_cfg_overlay=dict(file=file)
    )
    assert torch.equal(model.head.fc.weight, published['head.weight'])


@pytest.mark.parametrize('filter_resize', ['bicubic', 'bilinear', 'kernel'])
@pytest.mark.parametrize(
    'name', ['cdfformer_nano', 'dfformer_s18_afno', 'gfnet_h_nano', 'gfnet_ti']
)
def test_set_input_size(name, filter_resize):
    """As a model that is created with the size and loads the weights."""
    kwargs = dict(num_classes=5, filter_resize=filter_resize)
    model = create_quickly(name, img_size=64, **kwargs).eval()
    for size in ((70, 96), 33):
        other = create_quickly(name, img_size=size, **kwargs).eval()
        other.load_state_dict(model.state_dict())
        model.set_input_size(img_size=size)
        assert model.backbone.img_size == other.backbone.img_size
        state = model.state_dict()
        for key, value in other.state_dict().items():
            assert torch.equal(state[key], value), key
        x = torch.randn(1, 3, *model.backbone.img_size)
        with torch.no_grad():
            assert torch.equal(model(x), other(x))


def test_set_input_size_keeps_what_is_frozen_and_the_device():
    model = timm.create_model('gfnet_h_nano', img_size=64)
    frozen = model.backbone.blocks[0][0].token_mixer.filter
    frozen.requires_grad_(False)
    learned, fixed = model.backbone.pos_embed, frozen.grid
    model.to('meta').set_input_size(96)
    assert not frozen.weight.requires_grad
    assert learned.weight.requires_grad
    assert frozen.grid.is_meta and frozen.grid.dtype == fixed.dtype
    before = learned.weight
    model.set_input_size()
    model.set_input_size(96)
    assert learned.weight is before


def test_set_input_size_of_features_alone():
    net = timm.create_model(
        'cdfformer_nano', img_size=64, features_only=True, out_indices=(0, 2)
    )
    net.model.set_input_size(96)
    filters = net.model.backbone.stages[2][0].token_mixer.basis
    assert filters.size == (6, 6) and filters.weight.shape[:2] == (6, 4)


def test_set_input_size_refuses_what_is_no_size():
    model = timm.create_model('cdfformer_nano', img_size=64)
    for size in (0, (64,), '64', 2):
        with pytest.raises(ConfigError, match=f'img_size .*{size!r}'):
            model.set_input_size(size)
    assert model.backbone.img_size == (64, 64)


def test_weights_are_initialized_as_published():
    torch.manual_seed(0)
    model = timm.create_model('cdfformer_s18', img_size=SIZE)
    for module in model.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):
            assert module.bias is None or not module.bias.any()
            if module.weight.numel() > 1e5:
                std = module.weight.std().item()
                assert std == pytest.approx(0.02, rel=0.02)
    model.reset_classifier(500)
    std = model.get_classifier().weight.std().item()
    assert std == pytest.approx(0.02, rel=0.02)


def test_small_archs_have_a_start_of_their_own():
    torch.manual_seed(0)
    model = timm.create_model('gfnet_h_nano', img_size=SIZE)
    for _ in range(2):
        classifier = model.get_classifier()
        std = classifier.weight.std().item()
        assert std == pytest.approx(classifier.in_features**-0.5, rel=0.05)
        assert not classifier.bias.any()
        model.reset_classifier(500)


def test_pruning_keeps_what_it_is_asked_to(images):
    model = timm.create_model('gfnet_ti', img_size=SIZE).eval()
    with torch.no_grad():
        logits = model(images)
        [fifth] = model.forward_intermediates(
            images, [4], norm=True, intermediates_only=True
        )
        assert model.prune_intermediate_layers([-1], prune_head=False) == [11]
        torch.testing.assert_close(model(images), logits)
        assert model.prune_intermediate_layers([4]) == [4]
        torch.testing.assert_close(model(images), fifth)


def test_it_is_traced_with_the_backbone_as_one_node(images):
    from torchvision.models.feature_extraction import create_feature_extractor

    model = timm.create_model('gfnet_h_ti', img_size=SIZE).eval()
    traced = create_feature_extractor(
        model,
        ['head.fc'],
        tracer_kwargs=dict(leaf_modules=timm.models.get_notrace_modules()),
    )
    with torch.no_grad():
        assert torch.equal(traced(images)['head.fc'], model(images))


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(global_pool='catavgmax'), "global_pool='catavgmax' .* 'avg'"),
        (
            dict(features_only=True, feature_cls='hook'),
            "feature_cls must be 'getter', got 'hook'",
        ),
        (dict(filter_resize='nearest'), "filter_resize .*'nearest'"),
        (dict(output_stride=8), 'output_stride=8: .* have a stride of 16'),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        timm.create_model('gfnet_ti', img_size=SIZE, **options)


def test_unknown_layout_is_named(images):
    model = timm.create_model('gfnet_ti', img_size=SIZE)
    with pytest.raises(
        ConfigError, match=r"output_fmt .* 'NHWC'\), got 'NLC'"
    ):
        model.forward_intermediates(images, output_fmt='NLC')
