"""Outlines: along voxel borders, inside their own label, closed at the edge of the scan."""

import numpy as np
import pytest

from medseg.labels import LabelTable
from medseg.report.outlines import FILL_OPACITY, OUTLINE_PX, outline_layer

RED, BLUE = (255, 0, 0), (0, 0, 255)
TABLE = LabelTable.from_entries(
    [{"index": 1, "name": "red", "color": RED}, {"index": 4, "name": "blue", "color": BLUE}], source="test"
)
TINT = round(FILL_OPACITY * 255)
SCALE = 10


def layer_of(labels: list[list[int]]) -> np.ndarray:
    """The layer with ten pixels for a voxel."""
    array = np.array(labels, dtype=np.uint8)
    return outline_layer(array, TABLE, width=array.shape[1] * SCALE, height=array.shape[0] * SCALE)


def test_an_outline_lies_just_inside_the_border_of_its_voxel():
    layer = layer_of([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    opaque = np.zeros((30, 30), dtype=bool)
    opaque[10:20, 10:20] = True
    opaque[10 + OUTLINE_PX : 20 - OUTLINE_PX, 10 + OUTLINE_PX : 20 - OUTLINE_PX] = False
    assert np.array_equal(layer[..., 3] == 255, opaque)
    assert (layer[opaque][:, :3] == RED).all()


def test_the_inside_is_tinted_and_the_outside_is_clear():
    layer = layer_of([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    assert layer[15, 15].tolist() == [*RED, TINT]
    assert (layer[:10, :, 3] == 0).all()


def test_neighbours_keep_their_colours_side_by_side():
    layer = layer_of([[1, 4]])
    assert layer[5, SCALE - 1].tolist() == [*RED, 255]
    assert layer[5, SCALE].tolist() == [*BLUE, 255]


def test_a_label_that_leaves_the_scan_is_closed_at_its_edge():
    layer = layer_of([[1, 1], [1, 1]])
    assert (layer[0, :, 3] == 255).all()
    assert (layer[:, -1, 3] == 255).all()
    assert layer[SCALE, SCALE, 3] == TINT


def test_a_label_thinner_than_two_outlines_is_filled():
    labels = np.zeros((30, 30), dtype=np.uint8)
    labels[10:12, 5:25] = 1
    layer = outline_layer(labels, TABLE, width=30, height=30)
    assert (layer[10:12, 5:25, 3] == 255).all()


@pytest.mark.parametrize(("width", "height"), [(50, 20), (7, 3), (1, 1)])
def test_the_layer_has_the_size_asked_for(width, height):
    assert outline_layer(np.ones((9, 13), dtype=np.uint8), TABLE, width=width, height=height).shape == (
        height,
        width,
        4,
    )
