# Copyright (c) mmfft authors. All rights reserved.
"""A mixer in somebody else's network, exported."""

import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from mmfft.layers import DynamicFilter2d, GlobalFilter2d


@pytest.mark.parametrize(
    'layer, boundary',
    [
        (DynamicFilter2d, 'circular'),
        (GlobalFilter2d, 'circular'),
        (DynamicFilter2d, ('zero', 'reflect')),
    ],
)
def test_in_onnx(layer, boundary, tmp_path):
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        layer(8, grid=6, boundary=boundary),
        nn.ReLU(),
    ).eval()
    file = tmp_path / 'network.onnx'
    free = torch.export.Dim.DYNAMIC
    torch.onnx.export(
        network,
        (torch.randn(1, 3, 20, 16),),
        str(file),
        dynamo=True,
        dynamic_shapes=({2: free, 3: free},),
        verbose=False,
    )
    domains = {node.domain for node in onnx.load(file).graph.node}
    assert domains <= {'', 'ai.onnx'}
    session = onnxruntime.InferenceSession(file)
    (name,) = (one.name for one in session.get_inputs())
    for size in [(20, 16), (13, 31), (12, 12), (4, 3)]:
        x = torch.randn(1, 3, *size)
        (y,) = session.run(None, {name: x.numpy()})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(y), network(x))
