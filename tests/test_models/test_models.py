# Copyright (c) mmfft authors. All rights reserved.
"""What every model does, over all of them."""

import copy
import io
import pickle

import pytest
import torch
from tiny_models import build, every_model, loss_of

from mmfft.errors import ConfigError
from mmfft.ops import FILTER_RESIZE_MODES


@every_model
@pytest.mark.parametrize('size', [(64, 64), (96, 64), (33, 47), (8, 130)])
@pytest.mark.parametrize('filter_resize', FILTER_RESIZE_MODES)
def test_any_size_trains_every_parameter(name, size, filter_resize):
    model = build(name, filter_resize=filter_resize)
    outs = model(torch.randn(2, 3, *size))
    assert isinstance(outs, tuple)
    assert all(out.is_contiguous() for out in outs)
    loss_of(outs).backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert torch.isfinite(parameter.grad).all(), key


@pytest.mark.parametrize('name', ['dfformer', 'cdfformer', 'gfnet-h'])
def test_strides_and_channels(name):
    outs = build(name)(torch.randn(1, 3, 64, 96))
    assert [tuple(out.shape) for out in outs] == [
        (1, 8, 16, 24),
        (1, 16, 8, 12),
        (1, 24, 4, 6),
        (1, 32, 2, 3),
    ]


@every_model
def test_out_indices(name):
    levels = build(name).num_levels
    whole = build(name, out_indices=tuple(range(levels))).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = whole(x)
        for indices in [(0,), (1, 3), (-1,), (-3, -1), 2, -2]:
            part = build(name, out_indices=indices).eval()
            part.load_state_dict(whole.state_dict(), strict=False)
            wanted = (indices,) if isinstance(indices, int) else indices
            for out, i in zip(part(x), wanted, strict=True):
                torch.testing.assert_close(out, expected[i])
            norms = {k for k, _ in part.named_children() if 'norm' in k}
            assert norms == {f'norm{i % levels}' for i in wanted}


@every_model
@pytest.mark.parametrize('indices', [(0,), (1,)])
def test_nothing_idle_behind_the_last_output(name, indices):
    # A parameter without gradient breaks DistributedDataParallel.
    model = build(name, out_indices=indices)
    loss_of(model(torch.randn(1, 3, 64, 64))).backward()
    assert all(p.grad is not None for p in model.parameters())


@every_model
def test_checkpointing_changes_nothing(name):
    plain, saving = build(name), build(name, with_cp=True)
    x = torch.randn(1, 3, 64, 64)
    grads = []
    for model in (plain, saving):
        loss = loss_of(model(x))
        loss.backward()
        grads.append([loss, *(p.grad for p in model.parameters())])
    torch.testing.assert_close(grads[0], grads[1])


@every_model
def test_checkpointing_keeps_less(name):
    """Bytes that autograd holds between forward and backward."""

    def kept(with_cp):
        model = build(name, with_cp=with_cp).train()
        own = {p.data_ptr() for p in model.parameters()}
        sizes = {}

        def pack(tensor):
            if tensor.data_ptr() not in own:
                sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        x = torch.randn(2, 3, 64, 64)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            loss_of(model(x))
        return sum(sizes.values())

    assert kept(True) < 0.6 * kept(False)


@every_model
def test_state_dict_moves_between_sizes(name):
    source, target = build(name), build(name, img_size=(96, 56))
    state = source.state_dict()
    before = {k: v.clone() for k, v in state.items()}
    target.load_state_dict(state, strict=True)
    torch.testing.assert_close(state, before)
    again = build(name, img_size=(96, 56))
    again.load_state_dict(target.state_dict(), strict=True)
    x = torch.randn(1, 3, 96, 56)
    with torch.no_grad():
        torch.testing.assert_close(target.eval()(x), again.eval()(x))


@every_model
def test_copies_and_pickles(name):
    model = build(name).eval()
    x = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        expected = model(x)
        for other in (
            copy.deepcopy(model),
            pickle.loads(pickle.dumps(model)),
        ):
            torch.testing.assert_close(other(x), expected)


@every_model
@pytest.mark.parametrize(
    'dtype', [torch.float64, torch.bfloat16, torch.float16]
)
def test_dtypes(name, dtype):
    model = build(name).eval()
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        expected = model(x)
        outs = model.to(dtype)(x.to(dtype))
    for out, reference in zip(outs, expected):
        assert out.dtype == dtype
        if dtype == torch.float64:
            torch.testing.assert_close(
                out.float(), reference, atol=1e-4, rtol=1e-4
            )
        assert torch.isfinite(out).all()


@every_model
def test_safe_to_save_and_load(name):
    buffer = io.BytesIO()
    torch.save(build(name).state_dict(), buffer)
    buffer.seek(0)
    build(name).load_state_dict(torch.load(buffer, weights_only=True))


@every_model
def test_layer_depth_grows_from_stem_to_output(name):
    model = build(name)
    depths = {}
    for key, _ in model.named_parameters():
        depth, layers = model.get_layer_depth(f'backbone.{key}', 'backbone.')
        depths[key] = depth
        assert 0 <= depth < layers
    assert set(depths.values()) == set(range(layers))
    assert model.get_layer_depth('head.fc.weight', 'backbone.') == (
        layers - 1,
        layers,
    )


@every_model
@pytest.mark.parametrize(
    'wrong, message',
    [
        (dict(arch='s19'), "arch='s19' is not an arch of .* choose from"),
        (dict(arch=dict(depth=1)), 'a dict with the keys'),
        (dict(out_indices=(7,)), r'out_indices=\(7,\) is out of range: .*3'),
        (dict(out_indices=()), 'out of range'),
        (dict(out_indices=(2, 1)), 'ascending'),
        (dict(img_size=0), 'img_size must be .* got 0'),
        (dict(img_size=(64, -1)), 'img_size must be'),
        (dict(img_size=(64, 64, 3)), 'img_size must be'),
        (dict(drop_path_rate=1.0), 'drop_path_rate must be .* got 1.0'),
        (dict(filter_resize='nearest'), "filter_resize .*'nearest'"),
    ],
)
def test_bad_arguments_are_named(name, wrong, message):
    if name == 'afno' and 'filter_resize' in wrong:
        wrong, message = dict(token_mixers=('AFNO',)), 'token_mixers .* four'
    with pytest.raises(ConfigError, match=message):
        build(name, **wrong)


def test_sizes_that_the_stem_cannot_take():
    with pytest.raises(ConfigError, match='at least 3 pixels .* got 2'):
        build('dfformer', img_size=2)
