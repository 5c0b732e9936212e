import numpy as np
import pytest

from medseg.geometry import Geometry
from medseg.review.layers import source_of

pytest.importorskip("nilearn", reason="the samples need nilearn: pip install 'medseg[napari]'")

from medseg.review.sample import HEAD_TABLE, head_labels, head_sample, mni152_sample


def center_mm(labels: np.ndarray, geometry: Geometry, index: int) -> np.ndarray:
    return (geometry.affine @ [*np.argwhere(labels == index).mean(axis=0), 1])[:3]


def test_the_made_head_has_its_structures_where_their_names_say():
    labels, geometry = head_labels()
    index = {label.name: label.index for label in HEAD_TABLE}
    assert center_mm(labels, geometry, index["right_ventricle"])[0] == pytest.approx(13, abs=1)
    assert center_mm(labels, geometry, index["left_ventricle"])[0] == pytest.approx(-13, abs=1)
    np.testing.assert_allclose(center_mm(labels, geometry, index["lesion"]), (-36, 34, 26), atol=1.5)


def test_the_made_head_lies_on_an_oblique_grid_of_flat_voxels():
    _, geometry = head_labels()
    assert geometry.is_oblique
    assert geometry.spacing_mm == pytest.approx((1.5, 1.5, 4.0))


def test_the_capsule_shines_on_the_patients_right():
    (image, attributes, _), _ = head_sample()
    x, _, _ = source_of(attributes["metadata"]).grid.world_mm(np.unravel_index(image.argmax(), image.shape))
    assert x > 70


def test_the_template_is_shown_with_its_tissues():
    (image, _, _), (labels, attributes, kind) = mni152_sample()
    assert kind == "labels"
    assert attributes["features"]["name"] == ["background", "grey_matter", "white_matter"]
    assert image[labels == 2].mean() > image[labels == 1].mean()
