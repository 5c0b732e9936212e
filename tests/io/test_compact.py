"""A scan in half its memory: whole numbers within 16 bits are kept as such, all others stay as they are."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medseg.io import compact as compact_file
from medseg.io import compacted


def scan_of(values) -> MetaTensor:
    affine = torch.diag(torch.tensor([0.8, -0.7, 3.0, 1.0], dtype=torch.float64))
    return MetaTensor(torch.as_tensor(values, dtype=torch.float32), affine=affine, meta={"space": "RAS"})


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(compact_file, "PART_VOXELS", 40)


@pytest.mark.parametrize("shape", [(1, 5, 6, 7), (4, 3, 9, 2), (1, 1, 1, 1)])
def test_whole_numbers_take_two_bytes_and_keep_their_values_and_their_place(shape):
    values = np.random.default_rng(7).integers(-32768, 32768, shape)
    values.flat[:1] = 32767
    scan = scan_of(values)
    kept = compacted(scan)
    assert kept.dtype == torch.int16
    assert torch.equal(kept.as_tensor().float(), scan.as_tensor())
    assert torch.equal(kept.affine, scan.affine)
    assert kept.meta["space"] == "RAS"


@pytest.mark.parametrize("odd", [0.5, 32768.0, -32769.0, 3e9, -1e30])
def test_one_other_value_and_the_scan_stays_as_it_is(odd):
    values = np.zeros((2, 5, 6, 7))
    values[1, 4, 5, 6] = odd
    scan = scan_of(values)
    assert compacted(scan) is scan


def test_a_scan_turned_in_memory_is_compacted_too():
    values = np.arange(5 * 6 * 7).reshape(1, 5, 6, 7).transpose(0, 3, 1, 2)[:, ::-1].copy()
    scan = scan_of(values)
    turned = MetaTensor(scan.as_tensor().permute(0, 2, 3, 1), affine=scan.affine)
    assert torch.equal(compacted(turned).as_tensor().float(), turned.as_tensor())
