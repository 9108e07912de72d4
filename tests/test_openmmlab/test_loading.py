# Copyright (c) mmfft authors. All rights reserved.
"""Files into models: published, our own, torn, foreign and hostile."""

import argparse
import functools
import pickle

import pytest
import torch
from mmengine.runner import load_checkpoint, save_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from published_records import (
    SHAPES,
    published_state_dict,
    registered_backbone,
)

from mmfft.backbones import CDFFormer, DFFormer, GFNet
from mmfft.checkpoints import load_checkpoint_file, published_names
from mmfft.errors import ConfigError

TINY = dict(embed_dims=[8, 16, 24, 32], depths=[1, 1, 2, 1])
published_weights = functools.cache(published_state_dict)


@pytest.fixture
def said(monkeypatch):
    messages = []
    monkeypatch.setattr(
        'mmfft.backbones.base.print_log',
        lambda message, **kwargs: messages.append(message),
    )
    return messages


def values(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def unchanged(model, before):
    return all(
        torch.equal(before[k], v) for k, v in model.state_dict().items()
    )


def pretrained(cls, path, **kwargs):
    model = cls(init_cfg=dict(type='Pretrained', checkpoint=path), **kwargs)
    model.init_weights()
    return model


@pytest.mark.parametrize(
    ('arch', 'wrapper'),
    [
        ('cdfformer_s18', None),
        ('gfformer_s18', 'state_dict'),
        ('dfformer_s18_afno', 'model'),
        ('gfnet-ti', 'model'),
    ],
)
def test_init_cfg_takes_the_published_file(arch, wrapper, tmp_path, said):
    weights = published_weights(arch)
    path = str(tmp_path / f'{arch}.pth')
    torch.save({wrapper: weights, 'epoch': 3} if wrapper else weights, path)
    init_cfg = dict(type='Pretrained', checkpoint=path)
    model = registered_backbone(arch, init_cfg=init_cfg)
    model.init_weights()
    stem = (
        'patch_embed.proj' if 'gfnet' in arch else 'downsample_layers.0.conv'
    )
    assert torch.equal(
        model.state_dict()[f'{stem}.weight'], weights[f'{stem}.weight']
    )
    (report,) = said
    heads = sum(name.startswith(('norm.', 'head.')) for name in weights)
    own = sum(not k.endswith('.grid') for k in model.state_dict())
    if 'gfnet' in arch:
        assert f'loaded {own} of {own} tensors' in report
        assert 'missing: none' in report
        heads -= 2  # the last norm is the backbone's
    else:
        assert f'loaded {own - 8} of {own} tensors' in report
        assert 'norm0.weight, norm0.bias, norm1.weight' in report
        assert f'({heads} in all)' in report
    assert 'left over: head.' in report
    assert 'resized: none' in report


def test_the_report_names_both_grids(tmp_path, said):
    path = str(tmp_path / 'tiny.pth')
    torch.save(CDFFormer(TINY, img_size=(64, 96)).state_dict(), path)
    pretrained(CDFFormer, path, arch=TINY, img_size=128)
    assert said == [
        'CDFFormer: loaded 93 of 93 tensors; resized: 2 HalfSpectrum from '
        '4x6 to 8x8, 1 HalfSpectrum from 2x3 to 4x4; missing: none; left '
        'over: none'
    ]


@pytest.mark.parametrize('mode', ['bicubic', 'bilinear'])
def test_published_filters_and_positions_are_resized(mode, tmp_path, said):
    """Corners are aligned for filters only; positions are bicubic."""
    weights = published_weights('gfnet-ti')
    path = str(tmp_path / 'gfnet-ti.pth')
    torch.save({'model': weights}, path)
    model = pretrained(GFNet, path, img_size=384, filter_resize=mode)
    assert '1 PositionEmbedding from 14x14 to 24x24' in said[0]
    assert '12 HalfSpectrum from 14x14 to 24x24' in said[0]
    name = 'blocks.0.filter.complex_weight'
    resized = torch.nn.functional.interpolate(
        weights[name].flatten(2).permute(2, 0, 1)[None],
        size=(24, 13),
        mode=mode,
        align_corners=True,
    )[0].permute(1, 2, 0)
    ours = model.blocks[0].token_mixer.filter.weight.detach()
    torch.testing.assert_close(ours, resized.unflatten(2, (-1, 2)))
    grid = weights['pos_embed'].unflatten(1, (14, 14)).permute(0, 3, 1, 2)
    positions = torch.nn.functional.interpolate(
        grid, size=(24, 24), mode='bicubic', align_corners=False
    )
    torch.testing.assert_close(
        model.pos_embed.weight.detach(),
        positions.flatten(2).transpose(1, 2),
    )


@pytest.mark.parametrize('prefix', [None, 'backbone.'])
def test_a_classifier_trained_here_gives_its_backbone(prefix, tmp_path, said):
    from mmpretrain.models import ImageClassifier

    donor = ImageClassifier(
        backbone=CDFFormer(TINY, img_size=64, out_norm=False),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='mmfft.MlpHead', num_classes=3, in_channels=32),
    )
    path = str(tmp_path / 'trained.pth')
    save_checkpoint(dict(state_dict=donor.state_dict(), meta={}), path)
    init_cfg = dict(type='Pretrained', checkpoint=path)
    if prefix:
        init_cfg['prefix'] = prefix
    model = CDFFormer(TINY, img_size=64, out_norm=False, init_cfg=init_cfg)
    model.init_weights()
    for name, value in donor.backbone.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


@pytest.mark.parametrize('arch', ['dfformer_s18_k2', 'gfnet-h-ti'])
def test_load_from_takes_the_published_file(arch, tmp_path):
    from published_records import classifier

    path = str(tmp_path / 'published.pth')
    weights = published_state_dict(arch)
    torch.save(weights, path)
    model = classifier(arch)
    load_checkpoint(model, path, strict=True)
    last = 'head.fc.bias' if 'gfnet' in arch else 'head.fc2.bias'
    published = 'head.bias' if 'gfnet' in arch else 'head.fc2.bias'
    assert torch.equal(model.state_dict()[last], weights[published])


def test_every_published_name_has_a_file(cache):
    assert len(published_names()) == 15
    for name in published_names():
        arch = name.removesuffix('_in1k')
        arch = arch if arch.startswith('gfnet') else arch.replace('-', '_')
        assert arch in SHAPES


def test_the_scheme_reads_from_the_cache(cache):
    torch.save(published_weights('gfnet-ti'), cache / 'gfnet-ti.pth')
    torch.save(published_weights('cdfformer_s18'), cache / 'cdfformer_s18.pth')
    pretrained(GFNet, 'mmfft://gfnet-ti_in1k')
    pretrained(CDFFormer, 'mmfft://cdfformer-s18_in1k')


def test_the_scheme_downloads_once(cache, tmp_path, monkeypatch):
    """From an address, here one of a local file."""
    source = tmp_path / 'release'
    source.mkdir()
    torch.save(
        published_weights('cdfformer_s18'), source / 'cdfformer_s18.pth'
    )
    monkeypatch.setattr(
        'mmfft.checkpoints.zoo._RELEASE', f'{source.as_uri()}/'
    )
    pretrained(CDFFormer, 'mmfft://cdfformer-s18_in1k')
    assert [file.name for file in cache.iterdir()] == ['cdfformer_s18.pth']
    (source / 'cdfformer_s18.pth').unlink()
    pretrained(CDFFormer, 'mmfft://cdfformer-s18_in1k')


def test_a_download_that_fails_leaves_nothing(cache, tmp_path, monkeypatch):
    missing = (tmp_path / 'nothing').as_uri()
    monkeypatch.setattr('mmfft.checkpoints.zoo._RELEASE', f'{missing}/')
    with pytest.raises(ConfigError, match=r'cannot download .*s36\.pth'):
        pretrained(DFFormer, 'mmfft://dfformer-s36_in1k', arch='s36')
    assert not list(cache.iterdir())


def test_a_gfnet_has_to_be_fetched_by_hand(cache):
    with pytest.raises(ConfigError, match=r'fetch gfnet-xs\.pth .* save it'):
        pretrained(GFNet, 'mmfft://gfnet-xs_in1k', arch='xs')


def test_an_unknown_name_shows_the_known_ones():
    with pytest.raises(ConfigError, match='dfformer-s18_in1k'):
        pretrained(DFFormer, 'mmfft://dfformer-s19_in1k')


class Hostile:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return eval, (f'open({str(self.trace)!r}, "w").close()',)


def write_truncated(path, tmp_path):
    torch.save(published_weights('cdfformer_s18'), path)
    path.write_bytes(path.read_bytes()[:100_000])


def write_another_family(path, tmp_path):
    torch.save({'conv1.weight': torch.ones(2), 'fc.bias': torch.ones(2)}, path)


def write_caformer_names(path, tmp_path):
    names = ('downsample_layers.0.conv.weight', 'stages.3.0.token_mixer.qkv')
    torch.save({name: torch.ones(2) for name in names}, path)


def write_another_width(path, tmp_path):
    narrow = published_weights('cdfformer_s18')
    torch.save(
        {name: w.repeat_interleave(2, 0) for name, w in narrow.items()}, path
    )


def write_page(path, tmp_path):
    path.write_text('<!DOCTYPE html><html>Sign in</html>')


def write_empty(path, tmp_path):
    path.write_bytes(b'')


def write_text(path, tmp_path):
    path.write_text('version https://git-lfs')


def write_tensor(path, tmp_path):
    torch.save(torch.ones(3), path)


def write_hostile(path, tmp_path):
    weights = published_weights('cdfformer_s18')
    torch.save(dict(model=weights, x=Hostile(tmp_path / 'trace')), path)


def write_hostile_pickle(path, tmp_path):
    path.write_bytes(pickle.dumps(Hostile(tmp_path / 'trace')))


def write_mixed(path, tmp_path):
    weights = published_weights('cdfformer_s18')
    torch.save({**weights, 'stages.0.0.attn.qkv.weight': torch.ones(2)}, path)


WRONG = {
    write_truncated: 'is torn',
    write_another_family: r"nothing .* fits CDFFormer: .*'conv1\.weight'",
    write_caformer_names: r'not fit .*arch.*conv\.weight '
    r'has shape \(2,\)',
    write_another_width: r'CDFFormer: arch.embed_dims is .* in the file.*'
    r'shape \(128, 3, 7, 7\), the model \(64, 3, 7, 7\)',
    write_page: 'is an HTML or XML page',
    write_empty: 'is empty',
    write_text: 'is a pointer of Git LFS',
    write_tensor: 'holds a Tensor, not a dict',
    write_hostile: 'could run code; .*take_weights',
    write_hostile_pickle: 'plain pickle',
    write_mixed: r"has no \['stages\.0\.0\.attn\.qkv\.weight'\]",
}


@pytest.mark.parametrize('write', WRONG, ids=lambda write: write.__name__)
def test_a_wrong_file_is_one_error_and_changes_nothing(
    write, tmp_path, hardened
):
    path = tmp_path / 'wrong.pth'
    write(path, tmp_path)
    model = CDFFormer(img_size=32)
    before = values(model)
    with pytest.raises(ConfigError, match=WRONG[write]):
        load_checkpoint(model, str(path))
    assert unchanged(model, before)
    assert not (tmp_path / 'trace').exists()


def test_the_hostile_file_would_have_run(tmp_path):
    """So that the test above can fail."""
    write_hostile(tmp_path / 'wrong.pth', tmp_path)
    torch.load(tmp_path / 'wrong.pth', weights_only=False)
    assert (tmp_path / 'trace').exists()


def test_a_missing_file_is_one_error(hardened):
    with pytest.raises(ConfigError, match="'nothing.pth' does not exist"):
        CheckpointLoader.load_checkpoint('nothing.pth')


def test_what_mmengine_and_the_published_scripts_save_is_read(tmp_path):
    from mmengine.logging import HistoryBuffer, MessageHub

    hub = MessageHub('test_loading')
    hub.update_scalar('train/loss', 0.5)
    checkpoint = dict(
        state_dict={'w': torch.ones(2)},
        message_hub=hub.state_dict(),
        args=argparse.Namespace(lr=0.001),
    )
    path = str(tmp_path / 'run.pth')
    torch.save(checkpoint, path)
    read = load_checkpoint_file(path)
    buffer = read['message_hub']['log_scalars']['train/loss']
    assert isinstance(buffer, HistoryBuffer)
    assert buffer.current() == 0.5
    assert read['args'].lr == 0.001
    # As mmengine 0.10.7 does it, and some hooks of both lines.
    assert torch.load(path, weights_only=True)['args'].lr == 0.001


def test_getattr_reaches_nothing_but_the_history(tmp_path):
    class Reach:
        def __reduce__(self):
            return getattr, (torch.Tensor, 'numpy')

    torch.save(dict(state_dict=Reach()), tmp_path / 'reach.pth')
    with pytest.raises(ConfigError):
        load_checkpoint_file(str(tmp_path / 'reach.pth'))


def test_other_models_load_as_before(tmp_path):
    """A checkpoint that is not of this family keeps its names."""
    model = torch.nn.Linear(2, 2)
    path = str(tmp_path / 'linear.pth')
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    other = torch.nn.Linear(2, 2)
    load_checkpoint(other, path, strict=True)
    assert torch.equal(other.weight, model.weight)


def test_a_partial_state_dict_stays_possible(said):
    """But it is said that the backbone got nothing."""
    from mmpretrain.models import ImageClassifier

    model = ImageClassifier(
        backbone=CDFFormer(TINY, img_size=64, out_norm=False),
        neck=dict(type='GlobalAveragePooling'),
        head=dict(type='mmfft.MlpHead', num_classes=3, in_channels=32),
    )
    bias = torch.ones(3)
    model.load_state_dict({'head.fc2.bias': bias}, strict=False)
    assert torch.equal(model.head.fc2.bias, bias)
    assert said == ['CDFFormer: the checkpoint has nothing for backbone.']
