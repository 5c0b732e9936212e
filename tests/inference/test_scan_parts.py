"""Parts of a scan: restored one by one, and only where a label can win, they are what the whole would be."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import GeometryError
from medseg.geometry import Geometry, Interpolation, resample_volume
from medseg.inference import scan_parts
from medseg.inference.restore import OUTSIDE_LOGIT, labels_on, regions_on
from medseg.inference.scan_parts import ScanPart, parts_of

AXES = [np.eye(3)[:, list(order)] for order in ((0, 1, 2), (1, 2, 0), (2, 1, 0))]


def grid_of(shape, spacing_mm, *, origin_mm=(0, 0, 0), directions=None) -> Geometry:
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if directions is None else directions) * spacing_mm
    affine[:3, 3] = origin_mm
    return Geometry(shape, affine)


def resampled(values, source, target, *, outside):
    return torch.stack(
        [
            resample_volume(channel, source, target, interpolation=Interpolation.LINEAR, outside=value)
            for channel, value in zip(values, outside, strict=True)
        ]
    )


def blobs(n_channels, shape, *, seed, background):
    """Logits whose first channel is ahead in most places by so much."""
    values = torch.randn(n_channels, *shape, generator=torch.Generator().manual_seed(seed))
    values[0] += background
    return values


GRIDS = {
    "source": st.tuples(*[st.integers(2, 9)] * 3),
    "target": st.tuples(*[st.integers(1, 14)] * 3),
    "spacing": st.tuples(*[st.sampled_from([0.4, 0.5, 1.0, 1.7])] * 3),
    "origin": st.tuples(*[st.floats(-1.5, 1.5)] * 3),
    "directions": st.sampled_from([one * flip for one in AXES for flip in ([1, 1, 1], [1, -1, 1], [-1, 1, -1])]),
    "seed": st.integers(0, 1000),
    "background": st.sampled_from([0.0, 2.0, 4.0]),
}


def drawn(source, target, spacing, origin, directions):
    """A scan around the network's grid, turned by right angles; None where they do not meet."""
    seen = grid_of(source, (1, 1, 1))
    scan = grid_of(target, spacing, directions=directions)
    middle = seen.affine[:3, :3] @ ((np.array(source) - 1) / 2)
    affine = np.array(scan.affine)
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(target) - 1) / 2) + origin
    return seen, Geometry(target, affine)


@settings(max_examples=150, deadline=None)
@given(**GRIDS)
def test_labels_restored_in_parts_are_the_arg_max_of_all_classes_everywhere(
    source, target, spacing, origin, directions, seed, background
):
    seen, scan = drawn(source, target, spacing, origin, directions)
    values = blobs(4, source, seed=seed, background=background)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan_parts.parts_of, "__kwdefaults__", {"n_voxels": 40})
        try:
            found = labels_on(values, seen, scan)
        except GeometryError:
            return
    every = resampled(values, seen, scan, outside=[0.0, *[OUTSIDE_LOGIT] * 3])
    assert torch.equal(found.long(), every.argmax(dim=0))


@settings(max_examples=150, deadline=None)
@given(**GRIDS)
def test_regions_restored_in_parts_are_those_above_the_threshold_everywhere(
    source, target, spacing, origin, directions, seed, background
):
    seen, scan = drawn(source, target, spacing, origin, directions)
    values = blobs(3, source, seed=seed, background=-background) - background
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scan_parts.parts_of, "__kwdefaults__", {"n_voxels": 40})
        try:
            found = regions_on(values, seen, scan, threshold=0.5)
        except GeometryError:
            return
    assert torch.equal(found > 0, resampled(values, seen, scan, outside=[OUTSIDE_LOGIT] * 3) > 0)


def test_a_label_that_is_nowhere_above_the_background_is_not_interpolated(monkeypatch):
    sampled = []
    original = ScanPart.sampled
    monkeypatch.setattr(
        ScanPart, "sampled", lambda self, volume, **how: sampled.append(how.get("box")) or original(self, volume, **how)
    )
    seen, scan = grid_of((20, 20, 20), (2, 2, 2)), grid_of((39, 39, 39), (1, 1, 1))
    values = torch.zeros(5, 20, 20, 20)
    values[1:] = -1
    values[3, 4:6, 10, 12:15] = 5
    labels = labels_on(values, seen, scan)
    assert set(labels.unique().tolist()) == {0, 3}
    assert sampled == [None, (slice(7, 12), slice(19, 22), slice(23, 30))]  # the background, and a box of the label


def test_a_scan_that_the_network_did_not_see_is_refused():
    with pytest.raises(GeometryError, match="do not overlap"):
        list(parts_of(grid_of((5, 5, 5), (1, 1, 1), origin_mm=(50, 0, 0)), seen_on=grid_of((4, 4, 4), (1, 1, 1))))
