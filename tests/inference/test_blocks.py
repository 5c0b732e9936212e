"""Blocks: MONAI's own logits, part by part, as soon as no window can reach them any more."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import SimpleInferer, SlidingWindowInferer
from torch import nn

from medseg.inference import SliceBySliceInferer
from medseg.inference.blend import Blend
from medseg.inference.blocks import NotBlockwiseError, logits_in_blocks, logits_in_slabs


class Uneven(nn.Module):
    """Logits that depend on where in its window a voxel lies, so that a wrong blend shows."""

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        ramps = [torch.linspace(-1, 1, size) for size in windows.shape[2:]]
        ramp = sum(one.reshape([-1 if axis == place else 1 for axis in range(3)]) for place, one in enumerate(ramps))
        return torch.cat([windows[:, :1] * 2, windows[:, :1] + ramp, -windows[:, :1] * ramp], dim=1)


def volume_of(sizes: tuple[int, ...], *, seed: int = 0) -> torch.Tensor:
    return torch.rand(2, *sizes, generator=torch.Generator().manual_seed(seed))


ANY_WINDOWS = {
    "sizes": st.tuples(*[st.integers(1, 23)] * 3),
    "rois": st.tuples(*[st.integers(2, 9)] * 3),
    "overlap": st.sampled_from([0.0, 0.25, 0.5, 0.6, 0.75, (0.5, 0.0, 0.25)]),
    "batch": st.integers(1, 5),
}


@settings(max_examples=60, deadline=None)
@given(
    **ANY_WINDOWS,
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


@settings(max_examples=60, deadline=None)
@given(**ANY_WINDOWS)
def test_the_slabs_together_are_what_monai_gives(sizes, rois, overlap, batch):
    inferer = SlidingWindowInferer(
        roi_size=rois, sw_batch_size=batch, overlap=overlap, mode="gaussian", padding_mode="constant", cval=-3.0
    )
    volume, network = volume_of(sizes), Uneven()
    slabs = logits_in_slabs(volume, network, inferer)
    whole = []
    for slab in slabs.slabs:
        whole.append(torch.cat(list(slab.blocks.parts), slab.blocks.axis + 1))
        assert whole[-1].shape[slabs.axis + 1] == slab.n_planes
    expected = inferer(volume[None], network)[0]
    found = torch.cat(whole, slabs.axis + 1)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=1e-5)


def test_what_one_row_of_windows_finishes_of_a_slab_leaves_before_the_next_row():
    network = Uneven()
    rows = []
    network.register_forward_pre_hook(lambda module, arguments: rows.append(len(arguments[0])))
    slabs = logits_in_slabs(volume_of((60, 40, 8)), network, SlidingWindowInferer(roi_size=(8, 8, 8), overlap=0.5))
    assert slabs.axis == 0
    for number, slab in enumerate(slabs.slabs):
        assert slab.blocks.axis == 1
        reached = 0
        for part in slab.blocks.parts:
            reached += part.shape[2]
            row = len(rows) - 9 * number  # nine windows of 8 with a step of 4 lie along 40 voxels
            assert reached <= 4 * row or row == 9
        assert reached == 40


def test_windows_moved_back_at_the_border_make_hardly_more_wait_than_those_that_fit(monkeypatch):
    held = []
    add = Blend.add

    def counted(self, logits, corner):
        add(self, logits, corner)
        held.append(sum(sums.numel() for sums in self._sums.values()))

    monkeypatch.setattr(Blend, "add", counted)
    most = {}
    for length in (
        38,
        39,
    ):  # windows of 8 with a step of 6: the last one fits, or begins one plane after the one before
        held.clear()
        slabs = logits_in_slabs(volume_of((length, 20, 20)), Uneven(), SlidingWindowInferer((8, 8, 8), overlap=0.25))
        assert sum(slab.n_planes for slab in slabs.slabs if list(slab.blocks.parts)) == length
        most[length] = max(held)
    assert most[39] < 1.2 * most[38]


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


def test_an_inferer_whose_windows_are_not_known_gives_no_blocks():
    assert logits_in_blocks(volume_of((9, 9, 9)), Uneven(), SimpleInferer()) is None
    assert logits_in_blocks(volume_of((9, 9, 9)), Uneven(), SlidingWindowInferer(roi_size=(8, -1, 8))) is None
    assert logits_in_slabs(volume_of((9, 9, 9)), Uneven(), SimpleInferer()) is None
    assert logits_in_slabs(volume_of((9, 9, 9)), Uneven(), SliceBySliceInferer(0, (8, 8))) is None


@pytest.mark.parametrize("network", [nn.AvgPool3d(2), lambda windows: (windows, windows)], ids=["smaller", "several"])
def test_a_network_of_another_kind_of_output_is_told_apart(network):
    blocks = logits_in_blocks(volume_of((9, 9, 9)), network, SlidingWindowInferer(roi_size=(8, 8, 8)))
    with pytest.raises(NotBlockwiseError):
        next(blocks.parts)
