# Copyright (c) mmfft authors. All rights reserved.
"""torch.export of backbones for images of any size."""

import os
import shutil

import pytest
import torch
from torch._inductor import cpu_vec_isa
from torch.export import Dim, export

from mmfft.models import CDFFormer, DFFormer, GFNet, GFNetPyramid

TINY = dict(embed_dims=[8, 8, 8, 8], depths=[1, 1, 1, 1])
BACKBONES = {
    'dfformer': (DFFormer, dict(arch=TINY, out_indices=0)),
    # Convolutions at two stages, filters at the third.
    'cdfformer': (CDFFormer, dict(arch=TINY, out_indices=2)),
    'gfnet-h': (
        GFNetPyramid,
        dict(arch=dict(**TINY, layer_scale=0.5), out_indices=0),
    ),
    'gfnet': (GFNet, dict(arch=dict(embed_dim=8, depth=1), patch_size=8)),
}
ANY_SIZE = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
SIZES = [(1, 64, 64), (3, 65, 99), (1, 48, 130), (2, 36, 41)]


def build(name):
    """A model whose weights are all large enough to matter."""
    cls, options = BACKBONES[name]
    torch.manual_seed(0)
    model = cls(**options, img_size=64).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return model.requires_grad_(False)


def check(run, model, sizes):
    for batch, *size in sizes:
        x = torch.randn(batch, 3, *size)
        for ours, expected in zip(run(x), model(x), strict=True):
            error = (ours - expected).abs().max() / expected.abs().max()
            assert error < 1e-5, (batch, *size)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['dfformer', 'cdfformer', 'gfnet-h'])
def test_one_graph_for_any_batch_and_size(name):
    model = build(name)
    program = export(
        model, (torch.randn(2, 3, 64, 96),), dynamic_shapes=ANY_SIZE
    )
    check(program.module(), model, SIZES)


def test_a_graph_for_one_size_and_any_batch(tmp_path):
    model = build('gfnet')
    program = export(
        model,
        (torch.randn(2, 3, 64, 96),),
        dynamic_shapes=({0: Dim.DYNAMIC},),
    )
    # coremltools does not know them.
    operators = {str(node.target) for node in program.graph.nodes}
    assert not {name for name in operators if name.startswith('aten.__')}
    torch.export.save(program, tmp_path / 'model.pt2')
    run = torch.export.load(tmp_path / 'model.pt2').module()
    check(run, model, [(1, 64, 96), (3, 64, 96)])
    with pytest.raises(Exception, match='size'):
        run(torch.randn(1, 3, 64, 64))


@pytest.mark.slow
@pytest.mark.skipif(
    not shutil.which(os.environ.get('CXX', 'g++')),
    reason='PyTorch generates C++ for a CPU, and there is no compiler',
)
def test_compiled_ahead_of_time(tmp_path, monkeypatch):
    """A library for images of any size."""
    # PyTorch tries vector instructions out, which takes 40 s.
    monkeypatch.setattr(cpu_vec_isa, 'valid_vec_isa_list', lambda: [])
    model = build('gfnet')
    program = export(
        model, (torch.randn(2, 3, 64, 96),), dynamic_shapes=ANY_SIZE
    )
    path = torch._inductor.aoti_compile_and_package(
        program,
        package_path=str(tmp_path / 'model.pt2'),
        # It is not to be fast, but to be there soon.
        inductor_configs={
            'aot_inductor.debug_compile': True,
            'aot_inductor.precompile_headers': False,
            'cpp_cache_precompile_headers': False,
        },
    )
    check(torch._inductor.aoti_load_package(path), model, SIZES)
