"""The demonstration's own measures: regions on whole voxels, and what an adult's hippocampus may look like."""

import nibabel as nib
import numpy as np
import pytest

from medseg.bundle.demo import CENTERS_MM, REGION_MM, Side, _region
from medseg.geometry import Geometry
from medseg.report import LabelStatistics


def part(volume_ml: float, y_mm: float | None) -> LabelStatistics:
    return LabelStatistics(
        index=1,
        name="part",
        voxels=int(volume_ml * 1000),
        volume_ml=volume_ml,
        mean_intensity=None,
        centroid_mm=None if y_mm is None else (25.0, y_mm, -14.0),
        extent_mm=None,
        touches_border=False,
    )


@pytest.mark.parametrize(
    ("anterior", "posterior", "is_plausible"),
    [
        (part(1.5, -15), part(1.5, -28), True),
        (part(1.5, -28), part(1.5, -15), False),
        (part(0.9, -15), part(1.0, -28), False),
        (part(3.1, -15), part(3.0, -28), False),
        (part(3.0, -15), part(0.0, None), False),
    ],
    ids=["adult", "front behind back", "too small", "too large", "one part missing"],
)
def test_a_hippocampus_is_plausible_by_volume_and_order_of_its_parts(anterior, posterior, is_plausible):
    assert Side("left", (anterior, posterior)).is_plausible is is_plausible


@pytest.mark.parametrize("axcodes", ["RAS", "LPS"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_region_lies_on_whole_voxels_around_its_place(axcodes, side):
    flips = [1.0 if code in "RAS" else -1.0 for code in axcodes]
    affine = np.diag([*flips, 1.0])
    affine[:3, 3] = [-98, -134, -72] * np.array(flips)
    whole = Geometry((197, 233, 189), affine)
    region = _region(whole, CENTERS_MM[side])
    corner = np.linalg.inv(affine) @ region.affine[:, 3]
    np.testing.assert_allclose(corner, np.round(corner), atol=1e-9)
    middle = nib.affines.apply_affine(region.affine, (np.array(region.shape) - 1) / 2)
    assert np.abs(middle - CENTERS_MM[side]).max() <= 1
    assert region.shape == REGION_MM
