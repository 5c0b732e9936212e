import nibabel as nib
import numpy as np
import pytest

from medseg.errors import ReviewError
from medseg.geometry import Geometry
from medseg.review.measure import areas_mm2, volumes_ml

SHEARED = np.array([[2.0, 0.5, 0.0, 9.0], [0.0, 3.0, 0.7, 8.0], [0.0, 0.0, 4.0, 7.0], [0.0, 0.0, 0.0, 1.0]])


def test_a_volume_is_voxels_times_the_volume_of_one_also_where_axes_are_sheared():
    labels = np.zeros((30, 20, 10), np.uint8)
    labels[:5, :4, :3] = 1
    labels[6, 6, 6] = 255
    volumes = volumes_ml(labels, geometry=Geometry(labels.shape, SHEARED))
    assert volumes == {1: pytest.approx(60 * 24 / 1000), 255: pytest.approx(24 / 1000)}


def test_an_area_is_that_of_the_parallelogram_of_a_pixel():
    labels = np.zeros((5, 6, 7), np.uint8)
    labels[1:3, 1:4, 2:6] = 1
    geometry = Geometry(labels.shape, SHEARED)
    np.testing.assert_allclose(areas_mm2(labels, 1, axis=2, geometry=geometry), [0, 0, 36, 36, 36, 36, 0])
    pixel = np.hypot(2 * 0.7, 2 * 4.0)  # |(2, 0, 0) × (0, 0.7, 4)|
    np.testing.assert_allclose(areas_mm2(labels, 1, axis=1, geometry=geometry)[1], 8 * pixel)


def test_the_areas_of_a_real_hippocampus_add_up_to_its_volume(test_data):
    scan = nib.load(test_data / "Task04_Hippocampus/labelsTr/hippocampus_001.nii.gz")
    labels = np.asarray(scan.dataobj).astype(np.uint8)
    geometry = Geometry(labels.shape, scan.affine)
    volume = volumes_ml(labels, geometry=geometry)[2]
    assert 0.5 < volume < 3, "a posterior hippocampus has one or two millilitres"
    for axis in range(3):
        areas = areas_mm2(labels, 2, axis=axis, geometry=geometry)
        assert areas.sum() * geometry.spacing_mm[axis] / 1000 == pytest.approx(volume)


def test_the_area_of_a_label_that_is_nowhere_is_refused():
    with pytest.raises(ReviewError, match="label 3 is nowhere"):
        areas_mm2(np.zeros((2, 2, 2), np.uint8), 3, axis=0, geometry=Geometry((2, 2, 2), np.eye(4)))
