"""Blocks: MONAI's own logits, plane by plane, and labels restored while windows are still to come."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from monai.inferers import SimpleInferer, SlidingWindowInferer
from scipy.spatial.transform import Rotation
from torch import nn

from medseg.errors import RunError
from medseg.geometry import Geometry
from medseg.inference import SliceBySliceInferer, restore_labels, restore_regions
from medseg.inference.blocks import Blocks, NotBlockwiseError, logits_in_blocks
from medseg.inference.restore import restore_blocks


class Uneven(nn.Module):
    """Logits that depend on where in its window a voxel lies, so that a wrong blend shows."""

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        ramps = [torch.linspace(-1, 1, size) for size in windows.shape[2:]]
        ramp = sum(one.reshape([-1 if axis == place else 1 for axis in range(3)]) for place, one in enumerate(ramps))
        return torch.cat([windows[:, :1] * 2, windows[:, :1] + ramp, -windows[:, :1] * ramp], dim=1)


def volume_of(sizes: tuple[int, ...], *, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, *sizes, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 23)] * 3),
    rois=st.tuples(*[st.integers(2, 9)] * 3),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.6, 0.75, (0.5, 0.0, 0.25)]),
    batch=st.integers(1, 5),
    mode=st.sampled_from(["gaussian", "constant"]),
    padding=st.sampled_from([("constant", -3.0), ("constant", 0.0), ("replicate", 0.0)]),
)
def test_the_blocks_together_are_what_monai_gives(sizes, rois, overlap, batch, mode, padding):
    inferer = SlidingWindowInferer(
        roi_size=rois, sw_batch_size=batch, overlap=overlap, mode=mode, padding_mode=padding[0], cval=padding[1]
    )
    volume, network = volume_of(sizes), Uneven()
    blocks = logits_in_blocks(volume, network, inferer)
    found = torch.cat(list(blocks.parts), blocks.axis + 1)
    expected = inferer(volume[None], network)[0]
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=1e-5)


def test_no_more_planes_are_held_than_a_window_is_deep():
    inferer = SlidingWindowInferer(roi_size=(8, 8, 8), overlap=0.5)
    blocks = logits_in_blocks(volume_of((9, 60, 10)), Uneven(), inferer)
    assert blocks.axis == 1
    parts = [part.shape for part in blocks.parts]
    assert sum(shape[2] for shape in parts) == 60
    assert max(shape[2] for shape in parts) <= 8
    assert {(shape[1], shape[3]) for shape in parts} == {(9, 10)}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_come_in_blocks_of_a_batch(axis):
    inferer = SliceBySliceInferer(axis, (8, 8), context=1, batch_size=4)
    network = nn.Conv2d(6, 3, 3, padding=1).requires_grad_(False)
    volume = volume_of((9, 10, 11))
    blocks = logits_in_blocks(volume, network, inferer)
    parts = list(blocks.parts)
    assert [part.shape[axis + 1] for part in parts] == [4] * (len(parts) - 1) + [(9, 10, 11)[axis] % 4]
    assert torch.allclose(torch.cat(parts, axis + 1), inferer(volume[None], network)[0], atol=1e-6)


def grid(shape: tuple[int, int, int], spacing: tuple[float, ...], axcodes: str = "RAS") -> Geometry:
    """A grid of that spacing whose axes run as named, about the same place in space."""
    directions = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, code in enumerate(axcodes):
        row, sign = directions[code]
        affine[row, axis] = sign * spacing[axis]
    affine[:3, 3] = [5, -7, 11] - affine[:3, :3] @ (np.array(shape) - 1) / 2
    return Geometry(shape, affine)


def in_blocks(logits: torch.Tensor, axis: int, lengths: list[int]) -> Blocks:
    return Blocks(axis, iter(logits.split(lengths, axis + 1)))


ALL_48 = sorted("".join(codes) for axes in permutations(("LR", "PA", "IS")) for codes in product(*axes))


@pytest.mark.parametrize("axcodes", ALL_48)
def test_labels_restored_block_by_block_are_those_restored_at_once(axcodes):
    source = grid((13, 12, 14), (2.0, 1.5, 1.0))
    target = grid((20, 19, 17), (1.3, 0.9, 1.7), axcodes)
    logits = torch.randn(4, *source.shape, generator=torch.Generator().manual_seed(0))
    whole = MetaTensor(logits, affine=torch.from_numpy(source.affine.copy()))
    expected = restore_labels(whole, target)
    for axis, lengths in ((0, [5, 1, 7]), (1, [1] * 12), (2, [3, 8, 3])):
        found = restore_blocks(in_blocks(logits, axis, lengths), source, target)
        assert found.shape == (1, *target.shape)
        assert found.dtype == torch.uint8
        assert (found[0] != expected).float().mean() < 1e-3  # rounding, where two labels are equally likely


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_on_the_same_grid_blocks_change_nothing(axis):
    place = grid((13, 12, 14), (2.0, 1.5, 1.0), "LPI")
    logits = torch.randn(3, *place.shape, generator=torch.Generator().manual_seed(1))
    lengths = [place.shape[axis] - 9, 4, 5]
    assert torch.equal(restore_blocks(in_blocks(logits, axis, lengths), place, place)[0], logits.argmax(0).byte())


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_regions_are_restored_block_by_block_too(axis):
    source, target = grid((13, 12, 14), (2.0, 1.5, 1.0)), grid((30, 25, 20), (1.0, 1.0, 1.0), "LPS")
    logits = torch.randn(3, *source.shape, generator=torch.Generator().manual_seed(2))
    expected = restore_regions(MetaTensor(logits, affine=torch.from_numpy(source.affine.copy())), target, threshold=0.3)
    lengths = [source.shape[axis] - 9, 4, 5]
    found = restore_blocks(in_blocks(logits, axis, lengths), source, target, threshold=0.3)
    assert (found != expected).float().mean() < 1e-3


def test_a_scan_much_larger_than_what_the_network_saw_is_background_outside():
    source, target = grid((6, 6, 6), (1.0, 1.0, 1.0)), grid((90, 12, 12), (1.0, 1.0, 1.0))
    logits = torch.zeros(2, *source.shape)
    logits[1] = 1
    labels = restore_blocks(in_blocks(logits, 0, [2, 4]), source, target)
    assert int(labels.sum()) == 6**3
    assert bool(labels[0, 42:48, 3:9, 3:9].all())


def test_grids_that_are_turned_against_each_other_are_restored_at_once():
    source, upright = grid((13, 12, 14), (1.0, 1.0, 1.0)), grid((15, 15, 15), (1.0, 1.0, 1.0))
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [10, 20, 5], degrees=True).as_matrix()
    oblique = Geometry(upright.shape, turn @ upright.affine)
    logits = torch.randn(3, *source.shape, generator=torch.Generator().manual_seed(3))
    expected = restore_labels(MetaTensor(logits, affine=torch.from_numpy(source.affine.copy())), oblique)
    assert torch.equal(restore_blocks(in_blocks(logits, 0, [6, 7]), source, oblique)[0], expected)


def test_an_inferer_whose_windows_are_not_known_gives_no_blocks():
    assert logits_in_blocks(volume_of((9, 9, 9)), Uneven(), SimpleInferer()) is None
    assert logits_in_blocks(volume_of((9, 9, 9)), Uneven(), SlidingWindowInferer(roi_size=(8, -1, 8))) is None


@pytest.mark.parametrize("network", [nn.AvgPool3d(2), lambda windows: (windows, windows)], ids=["smaller", "several"])
def test_a_network_of_another_kind_of_output_is_told_apart(network):
    blocks = logits_in_blocks(volume_of((9, 9, 9)), network, SlidingWindowInferer(roi_size=(8, 8, 8)))
    with pytest.raises(NotBlockwiseError):
        next(blocks.parts)


def test_logits_that_are_no_numbers_stop_the_run():
    inferer = SlidingWindowInferer(roi_size=(8, 8, 8))
    blocks = logits_in_blocks(volume_of((9, 9, 9)), lambda windows: windows * float("nan"), inferer)
    with pytest.raises(RunError, match="not numbers"):
        next(blocks.parts)
