"""On the scan: labels restored while windows are still to come are those restored at once."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from scipy.spatial.transform import Rotation

from medseg.geometry import Geometry
from medseg.inference import restore_labels, restore_regions
from medseg.inference.blocks import Blocks, Slab, Slabs
from medseg.inference.on_scan import restore_blocks


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


def in_slabs(logits: torch.Tensor, axis: int, depths: list[int]) -> Slabs:
    """Slabs across an axis, each in blocks across the next one, cut elsewhere in every slab."""
    across = (axis + 1) % 3
    size = logits.shape[across + 1]
    return Slabs(
        axis,
        (
            Slab(part.shape[axis + 1], in_blocks(part, across, [1 + number, 4, size - 5 - number]))
            for number, part in enumerate(logits.split(depths, axis + 1))
        ),
    )


CUTS = pytest.mark.parametrize("cut", [in_blocks, in_slabs], ids=["blocks", "slabs"])


@CUTS
@pytest.mark.parametrize("axcodes", ALL_48)
def test_labels_restored_part_by_part_are_those_restored_at_once(cut, axcodes):
    source = grid((13, 12, 14), (2.0, 1.5, 1.0))
    target = grid((20, 19, 17), (1.3, 0.9, 1.7), axcodes)
    logits = torch.randn(4, *source.shape, generator=torch.Generator().manual_seed(0))
    whole = MetaTensor(logits, affine=torch.from_numpy(source.affine.copy()))
    expected = restore_labels(whole, target)
    for axis, depths in ((0, [5, 1, 7]), (1, [1, 6, 5]), (2, [3, 8, 3])):
        heard = torch.zeros(target.shape, dtype=torch.uint8)  # what the network did not see is not told
        found = restore_blocks(
            cut(logits, axis, depths),
            source,
            target,
            restored=lambda along, first, planes: heard.narrow(along, first, planes.shape[along + 1]).copy_(planes[0]),  # noqa: B023
        )
        assert found.shape == (1, *target.shape)
        assert found.dtype == torch.uint8
        assert (found[0] != expected).float().mean() < 1e-3  # rounding, where two labels are equally likely
        assert torch.equal(heard, found[0])


@pytest.mark.parametrize("spacing", [0.4, 7.0], ids=["finer", "coarser than a slab is deep"])
def test_slabs_meet_a_scan_of_any_spacing(spacing):
    source = grid((13, 12, 14), (2.0, 1.5, 1.0))
    shape = tuple(max(int(size / spacing), 2) for size in (26, 18, 14))
    target = grid(shape, (spacing,) * 3, "LPS")
    logits = torch.randn(3, *source.shape, generator=torch.Generator().manual_seed(2))
    whole = MetaTensor(logits, affine=torch.from_numpy(source.affine.copy()))
    for axis, depths in ((0, [2] * 6 + [1]), (1, [1] * 12), (2, [3, 8, 3])):
        slabs = (
            Slab(
                part.shape[axis + 1],
                in_blocks(part, 2 if axis == 1 else 1, [5, 4, part.shape[3 if axis == 1 else 2] - 9]),
            )
            for part in logits.split(depths, axis + 1)
        )
        found = restore_blocks(Slabs(axis, slabs), source, target, threshold=0.3)
        assert (found != restore_regions(whole, target, threshold=0.3)).float().mean() < 1e-3


@CUTS
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_on_the_same_grid_a_cut_changes_nothing(cut, axis):
    place = grid((13, 12, 14), (2.0, 1.5, 1.0), "LPI")
    logits = torch.randn(3, *place.shape, generator=torch.Generator().manual_seed(1))
    lengths = [place.shape[axis] - 9, 4, 5]
    assert torch.equal(restore_blocks(cut(logits, axis, lengths), place, place)[0], logits.argmax(0).byte())


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
    assert torch.equal(labels, restore_blocks(in_slabs(logits, 0, [2, 4]), source, target))
    assert bool(labels[0, 42:48, 3:9, 3:9].all())


def test_grids_that_are_turned_against_each_other_are_restored_at_once():
    source, upright = grid((13, 12, 14), (1.0, 1.0, 1.0)), grid((15, 15, 15), (1.0, 1.0, 1.0))
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [10, 20, 5], degrees=True).as_matrix()
    oblique = Geometry(upright.shape, turn @ upright.affine)
    logits = torch.randn(3, *source.shape, generator=torch.Generator().manual_seed(3))
    expected = restore_labels(MetaTensor(logits, affine=torch.from_numpy(source.affine.copy())), oblique)
    assert torch.equal(restore_blocks(in_blocks(logits, 0, [6, 7]), source, oblique)[0], expected)
    assert torch.equal(restore_blocks(in_slabs(logits, 0, [6, 7]), source, oblique)[0], expected)
