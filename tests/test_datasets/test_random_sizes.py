# Copyright (c) mmfft authors. All rights reserved.
import pytest
import torch
from mmengine.registry import FUNCTIONS, DefaultScope
from mmpretrain.structures import DataSample

from mmfft.datasets.random_sizes import collate_at_random_size
from mmfft.errors import ConfigError


def batch(count=3, size=(12, 16), dtype=torch.uint8):
    generator = torch.Generator().manual_seed(0)
    return [
        dict(
            inputs=torch.randint(0, 256, (3, *size), generator=generator).to(
                dtype
            ),
            data_samples=DataSample().set_gt_label(i),
        )
        for i in range(count)
    ]


def test_each_batch_has_one_of_the_sizes():
    torch.manual_seed(0)
    seen = set()
    for _ in range(30):
        data = collate_at_random_size(batch(), sizes=[8, (10, 14), (12, 16)])
        assert data['inputs'].dtype == torch.uint8
        assert [int(s.gt_label) for s in data['data_samples']] == [0, 1, 2]
        seen.add(tuple(data['inputs'].shape))
    assert seen == {(3, 3, 8, 8), (3, 3, 10, 14), (3, 3, 12, 16)}


def test_images_of_the_size_are_not_changed():
    data = collate_at_random_size(batch(), sizes=[(12, 16)])
    assert torch.equal(data['inputs'], torch.stack([
        sample['inputs'] for sample in batch()
    ]))  # fmt: skip


def test_a_picture_looks_the_same_at_another_size():
    flat = batch()
    for value, sample in zip((0, 100, 255), flat):
        sample['inputs'].fill_(value)
    data = collate_at_random_size(flat, sizes=[20])
    for value, image in zip((0, 100, 255), data['inputs']):
        assert image.unique().tolist() == [value]
    # Overshoot at an edge is no overflow.
    edge = batch(1)
    edge[0]['inputs'].zero_()[:, :, 8:] = 255
    image = collate_at_random_size(edge, sizes=[(24, 32)])['inputs'][0]
    assert image[:, :, :8].max() < 30
    assert image[:, :, 24:].min() > 225


def test_images_of_floating_point():
    data = collate_at_random_size(batch(dtype=torch.float32), sizes=[20])
    assert data['inputs'].dtype == torch.float32


def test_it_is_found_in_the_scope_of_mmpretrain():
    import mmfft  # noqa: F401

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        found = FUNCTIONS.get('mmfft.collate_at_random_size')
    assert found is collate_at_random_size


@pytest.mark.parametrize('sizes', [[], 64, [0], [(64,)]])
def test_what_is_no_size(sizes):
    with pytest.raises(ConfigError, match='sizes must be'):
        collate_at_random_size(batch(), sizes)
