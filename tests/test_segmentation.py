"""The result value: labels that fit their grid, with volumes in millilitres."""

import json

import numpy as np
import pytest

from medseg.errors import GeometryError
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.segmentation import Segmentation

TABLE = LabelTable.from_entries(
    [{"index": 1, "name": "spleen", "color": [1, 2, 3]}, {"index": 7, "name": "liver", "color": [4, 5, 6]}],
    source="test",
)


def segmentation() -> Segmentation:
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[:5, 0, 0] = 1
    labels[:, 1, :2] = 7
    return Segmentation(labels, Geometry((10, 10, 10), np.diag([-1.0, 2.0, 5.0, 1.0])), TABLE)


def test_volumes_are_counted_in_millilitres():
    assert segmentation().volume_ml("spleen") == pytest.approx(5 * 10 / 1000)
    assert segmentation().volume_ml("liver") == pytest.approx(20 * 10 / 1000)


def test_a_structure_that_the_table_lacks_has_no_volume():
    with pytest.raises(KeyError, match="no label 'heart'; the table has spleen, liver"):
        segmentation().volume_ml("heart")


def test_a_summary_holds_every_label_and_is_plain_json():
    summary = json.loads(json.dumps(segmentation().summary()))
    assert summary["labels"] == [
        {"index": 1, "name": "spleen", "voxels": 5, "volume_ml": 0.05},
        {"index": 7, "name": "liver", "voxels": 20, "volume_ml": 0.2},
    ]
    assert summary["axcodes"] == "LAS"
    assert summary["spacing_mm"] == [1, 2, 5]
    assert summary["shape"] == [10, 10, 10]


def test_labels_of_another_shape_than_the_grid_are_refused():
    with pytest.raises(GeometryError, match=r"\(2, 2, 2\) found on a grid of \(2, 2, 3\)"):
        Segmentation(np.zeros((2, 2, 2), np.uint8), Geometry((2, 2, 3), np.eye(4)), TABLE)
