import itertools

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medseg.errors import GeometryError
from medseg.geometry import Geometry
from medseg.labels import Label, LabelTable
from medseg.review.layers import LayerSource, image_layers, labels_layer, source_of, stored_values
from medseg.review.windowing import presets

TABLE = LabelTable(labels=(Label(index=2, name="liver", color=(255, 0, 51)),))


def grid(*, turn: float = 0.0) -> Geometry:
    affine = np.diag([-1.0, 2.0, 3.0, 1.0])
    affine[:3, :3] = (
        np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]) @ (affine[:3, :3])
    )
    affine[:3, 3] = (10, -20, 30)
    return Geometry((4, 5, 6), affine)


def test_an_upright_scan_lies_at_its_millimetres_towards_head_back_and_left():
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 3, 2] = 2
    data, attributes, kind = labels_layer(labels, LayerSource("case", grid(), TABLE))
    voxel = np.argwhere(data)[0]
    z, y, x = voxel * attributes["scale"] + attributes["translate"]
    right, front, up = (grid().affine @ [1, 3, 2, 1])[:3]
    assert (z, y, x) == (up, -front, -right)
    assert kind == "labels"
    assert attributes["units"] == ("mm", "mm", "mm")


def test_a_layer_knows_its_scan_and_a_foreign_one_none():
    _, attributes, _ = labels_layer(np.zeros((4, 5, 6), np.uint8), LayerSource("case", grid(), TABLE))
    assert source_of(attributes["metadata"]).geometry.matches(grid())
    assert source_of({}) is None
    assert source_of({"medseg": "text"}) is None


def test_labels_take_the_names_and_colours_of_their_table_and_an_unknown_value_is_seen():
    _, attributes, _ = labels_layer(np.zeros((4, 5, 6), np.uint8), LayerSource("case", grid(), TABLE))
    assert attributes["colormap"][2] == (1.0, 0.0, 0.2, 1.0)
    assert attributes["colormap"][0][3] == 0
    assert attributes["colormap"][None][3] == 1
    assert attributes["features"] == {"index": [0, 2], "name": ["background", "liver"]}


def test_each_channel_is_a_layer_and_only_the_first_is_seen():
    image = MetaTensor(torch.arange(240.0).reshape(2, 4, 5, 6), affine=torch.from_numpy(grid().affine.copy()))
    first, second = image_layers(image, case_id="case", channels=["t1", "flair"])
    assert (first[1]["name"], second[1]["name"]) == ("case t1", "case flair")
    assert (first[1]["visible"], second[1]["visible"]) == (True, False)
    assert second[0].min() == 120


@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_stored_values_are_the_scans_own(turn):
    values = np.arange(120).reshape(4, 5, 6)
    data, attributes, _ = labels_layer(values, LayerSource("case", grid(turn=turn)))
    stored, source = stored_values(data, attributes)
    np.testing.assert_array_equal(stored, values)
    np.testing.assert_array_equal(source.geometry.affine, grid(turn=turn).affine)


def test_a_layer_of_napari_itself_is_placed_by_its_scale_and_translation():
    data = np.arange(24).reshape(2, 3, 4)
    stored, source = stored_values(data, {"name": "drawn", "scale": (3, 2, 1), "translate": (5, 6, 7)})
    assert stored.shape == (4, 3, 2)
    for position in itertools.product(range(2), range(3), range(4)):
        z, y, x = np.array(position) * (3, 2, 1) + (5, 6, 7)
        index = np.rint(np.linalg.inv(source.geometry.affine) @ [-x, -y, z, 1])[:3].astype(int)
        assert stored[tuple(index)] == data[position]
    assert nib.orientations.aff2axcodes(source.geometry.affine) == ("L", "P", "S")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"translate": (0, 0, 0)}, "was moved or scaled"),
        ({"scale": (1, 1, 1)}, "was moved or scaled"),
        ({"rotate": np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])}, "turned or moved .rotate"),
        ({"shear": np.array([0.0, 0.5, 0.0])}, "turned or moved .shear"),
        ({"affine": np.diag([1.0, 1, 2, 1])}, "turned or moved .affine"),
    ],
)
def test_a_layer_that_was_moved_is_refused(change, message):
    data, attributes, _ = labels_layer(np.zeros((4, 5, 6), np.uint8), LayerSource("case", grid()))
    with pytest.raises(GeometryError, match=message):
        stored_values(data, attributes | change)


def test_a_layer_that_was_cropped_is_refused():
    data, attributes, _ = labels_layer(np.zeros((4, 5, 6), np.uint8), LayerSource("case", grid()))
    with pytest.raises(GeometryError, match="both must agree"):
        stored_values(data[1:], attributes)


def test_a_flat_layer_is_refused():
    with pytest.raises(GeometryError, match="2 axes: three were expected"):
        stored_values(np.zeros((4, 5)), {"name": "flat"})


def test_labels_of_another_shape_than_their_grid_are_refused():
    with pytest.raises(GeometryError, match="both must agree"):
        labels_layer(np.zeros((4, 5, 7), np.uint8), LayerSource("case", grid()))


def test_black_and_white_are_those_of_the_first_window():
    image = MetaTensor(torch.arange(240.0).reshape(2, 4, 5, 6), affine=torch.from_numpy(grid().affine.copy()))
    layers = image_layers(image, case_id="case")
    expected = [presets("MR", values)[0].limits for values in image.as_tensor().numpy()]
    assert [attributes["contrast_limits"] for _, attributes, _ in layers] == expected
