"""What the plan counts of the logits that are held."""

import pytest
from monai.inferers import SlidingWindowInferer

from medseg.bundle.forecasting import blocks_mb
from medseg.inference import MirrorInferer, SliceBySliceInferer, ThreePlaneInferer

SIZES = (64, 96, 200)
WINDOWS = SlidingWindowInferer((32, 32, 40), overlap=0.5)
SLICES = SliceBySliceInferer(2, (64, 64), batch_size=8)


def test_windows_hold_planes_as_deep_as_they_are_across_the_longest_axis():
    assert blocks_mb(WINDOWS, SIZES, n_channels=3) == pytest.approx(1.5 * 40 * 64 * 96 * 3 * 4 / 1e6)


@pytest.mark.parametrize("inferer", [WINDOWS, SLICES, ThreePlaneInferer(SLICES)])
def test_mirror_images_hold_what_one_pass_holds_unless_each_is_a_pass_of_its_own(inferer):
    one = blocks_mb(inferer, SIZES, n_channels=3)
    assert blocks_mb(MirrorInferer(inferer, (0, 2)), SIZES, n_channels=3) == one
    assert blocks_mb(MirrorInferer(inferer, (0, 2)), SIZES, n_channels=3, in_mirrors=True) == 4 * one


def test_slices_of_three_planes_hold_whole_volumes():
    assert blocks_mb(ThreePlaneInferer(SLICES), SIZES, n_channels=3) == pytest.approx(2 * 64 * 96 * 200 * 3 * 4 / 1e6)
