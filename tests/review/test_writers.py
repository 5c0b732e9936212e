import itertools

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import OutputError
from medseg.geometry import Geometry
from medseg.io import read_labels, read_volume
from medseg.labels import Label, LabelTable
from medseg.review.label_names import label_table_of
from medseg.review.layers import LayerSource, labels_layer
from medseg.review.writers import save_image, save_labels

ALL_48_AXCODES = [
    tuple(pair[sign] for pair, sign in zip(order, signs, strict=True))
    for order in itertools.permutations(("RL", "AP", "SI"))
    for signs in itertools.product((0, 1), repeat=3)
]
DIRECTIONS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
POINT_MM = np.array([7.0, -5.0, 12.0])
"""Right of, behind and above the origin of the patient's coordinates."""


def affine_of(axcodes, turn):
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.array([DIRECTIONS[code] for code in axcodes]).T * [0.5, 1.0, 3.0]
    affine[:3, 3] = POINT_MM - affine[:3, :3] @ (2, 6, 3)  # the point is the centre of voxel (2, 6, 3)
    return affine


@pytest.mark.parametrize("turn", [0.0, 0.3])
@pytest.mark.parametrize("axcodes", ALL_48_AXCODES)
@pytest.mark.usefixtures("napari_installed")
def test_a_voxel_painted_at_a_point_of_the_body_lies_at_that_point_in_the_file(tmp_path, axcodes, turn):
    from napari.components import ViewerModel
    from napari.layers import Labels

    from medseg.review.reader import read_paths

    path = tmp_path / "scan_seg.nii"
    nib.save(nib.Nifti1Image(np.zeros((6, 8, 7), np.uint8), affine_of(axcodes, turn)), path)
    viewer = ViewerModel()
    ((data, attributes, _),) = read_paths(str(path))
    layer = viewer.add_layer(Labels(data, **attributes))
    layer.brush_size = 1
    layer.n_edit_dimensions = 3
    if turn:  # an oblique scan is shown along its own axes: its millimetres are those of its grid
        grid = attributes["metadata"]["medseg"].grid
        place = grid.position_of((2, 6, 3))
    else:
        right, front, up = POINT_MM
        place = layer.world_to_data((up, -front, -right))
    layer.paint(tuple(place), 9)
    save_labels(str(path), *layer.as_layer_data_tuple()[:2])
    saved = nib.load(path)
    painted = np.argwhere(np.asarray(saved.dataobj) == 9)
    assert len(painted) == 1
    np.testing.assert_allclose((saved.affine @ [*painted[0], 1])[:3], POINT_MM, atol=1e-4)
    np.testing.assert_allclose(saved.affine, affine_of(axcodes, turn), atol=1e-6)


def layer_of(labels, table=None):
    geometry = Geometry(labels.shape, affine_of(("L", "S", "A"), 0.3))
    return labels_layer(labels, LayerSource("case", geometry, table))[:2]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha"])
def test_labels_come_back_from_every_format_as_they_went(tmp_path, suffix):
    labels = np.random.default_rng(0).integers(0, 4, (6, 8, 7)).astype(np.uint8)
    path = tmp_path / f"labels{suffix}"
    assert save_labels(str(path), *layer_of(labels)) == [str(path)]
    read = read_labels(path)
    np.testing.assert_array_equal(read.numpy()[0], labels)
    np.testing.assert_allclose(read.affine.numpy(), affine_of(("L", "S", "A"), 0.3), atol=1e-5)


def test_an_image_comes_back_as_it_went(tmp_path):
    values = np.random.default_rng(0).normal(size=(6, 8, 7)).astype(np.float32)
    data, attributes = layer_of(values)
    save_image(str(tmp_path / "image.nii.gz"), data, attributes)
    np.testing.assert_array_equal(read_volume(tmp_path / "image.nii.gz").numpy()[0], values)


def test_a_value_that_the_table_lacks_is_written_with_a_name_of_its_own(tmp_path):
    labels = np.zeros((6, 8, 7), np.uint8)
    labels[0, 0, 0], labels[1, 1, 1] = 2, 7
    path = tmp_path / "labels.seg.nrrd"
    save_labels(str(path), *layer_of(labels, LabelTable(labels=(Label(index=2, name="liver", color=(1, 2, 3)),))))
    assert label_table_of(path, labels).names == ("liver", "label 7")


def test_values_beyond_a_byte_are_written_in_two(tmp_path):
    labels = np.zeros((6, 8, 7), np.int64)
    labels[0, 0, 0] = 60_000
    save_labels(str(tmp_path / "labels.nii.gz"), *layer_of(labels))
    assert read_labels(tmp_path / "labels.nii.gz").numpy().max() == 60_000


@pytest.mark.parametrize("value", [-1, 70_000])
def test_values_that_no_file_holds_are_refused(tmp_path, value):
    labels = np.zeros((6, 8, 7), np.int64)
    labels[0, 0, 0] = value
    with pytest.raises(OutputError, match="Renumber them"):
        save_labels(str(tmp_path / "labels.nii.gz"), *layer_of(labels))
    assert not list(tmp_path.iterdir())
