"""Windows: the drawing in the module, and MONAI's own windows for volumes of many sizes."""

import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer

from medseg.inference import count_windows, window_starts


def test_last_window_is_moved_back_to_end_at_the_border():
    assert window_starts(size=10, roi=5, overlap=0.4) == [0, 3, 5]


@pytest.mark.parametrize(
    ("size", "roi", "overlap", "starts"),
    [
        (4, 5, 0.5, [0]),
        (5, 5, 0.5, [0]),
        (6, 5, 0.0, [0, 1]),
        (11, 5, 0.4, [0, 3, 6]),
        (1, 1, 0.0, [0]),
        (6, 4, 0.99, [0, 1, 2]),
    ],
    ids=["shorter", "as long", "one voxel longer", "no remainder", "one voxel", "overlap that leaves no step"],
)
def test_windows_of_one_axis(size, roi, overlap, starts):
    assert window_starts(size=size, roi=roi, overlap=overlap) == starts


@pytest.mark.parametrize("case", range(12))
def test_windows_are_those_of_monai(case):
    random = np.random.default_rng(case)
    sizes = [int(size) for size in random.integers(1, 14, size=3)]
    roi_size = [int(size) for size in random.integers(2, 9, size=3)]
    overlap = float(random.choice([0.0, 0.25, 0.5, 0.6, 0.8]))
    index = torch.stack(torch.meshgrid(*[torch.arange(float(size)) for size in sizes], indexing="ij"))[None]
    ends = []

    def network(window: torch.Tensor) -> torch.Tensor:
        ends.extend(tuple(int(along.max()) for along in one) for one in window)
        return window

    SlidingWindowInferer(roi_size=roi_size, sw_batch_size=1, overlap=overlap)(index, network)
    assert count_windows(sizes, roi_size=roi_size, overlap=overlap) == len(ends)
    for axis, (size, roi) in enumerate(zip(sizes, roi_size, strict=True)):
        starts = window_starts(size=size, roi=roi, overlap=overlap)
        assert sorted({end[axis] for end in ends}) == [min(start + roi, size) - 1 for start in starts]


def test_one_number_stands_for_every_axis():
    assert count_windows((10, 10, 10), roi_size=5, overlap=0.4) == 27
    assert count_windows((10, 10, 5), roi_size=(5, 5, 5), overlap=(0.4, 0.0, 0.0)) == 6
