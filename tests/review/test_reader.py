import nibabel as nib
import numpy as np
import pytest

from medseg.errors import CaseError
from medseg.geometry import Geometry
from medseg.io import write_labels
from medseg.labels import Label, LabelTable
from medseg.review.layers import source_of
from medseg.segmentation import Segmentation

pytestmark = pytest.mark.usefixtures("napari_installed")

AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])


def read(path):
    from medseg.review.reader import napari_get_reader

    reader = napari_get_reader(str(path) if not isinstance(path, list) else [str(one) for one in path])
    assert reader is not None
    return reader(str(path))


def write_values(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values.astype(np.uint8), AFFINE), path)
    return path


def brats_case(folder, write_scan):
    for number, channel in enumerate(("flair", "t1", "t1ce", "t2")):
        write_scan(folder / f"{folder.name}_{channel}.nii.gz", seed=number)
    labels = np.zeros((6, 5, 4))
    labels[2, 2, 2] = 4
    write_values(folder / f"{folder.name}_seg.nii.gz", labels)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_scan_is_an_image_in_millimetres(tmp_path, write_scan, suffix):
    ((data, attributes, kind),) = read(write_scan(tmp_path / f"scan{suffix}"))
    assert (data.shape, kind) == ((4, 5, 6), "image")
    assert tuple(attributes["scale"]) == (2, 1, 1)
    assert attributes["units"] == ("mm", "mm", "mm")
    assert attributes["name"] == "scan"


@pytest.mark.parametrize("place", ["scan_seg.nii.gz", "labelsTr/scan.nii.gz"])
def test_a_label_map_is_a_labels_layer(tmp_path, place):
    values = np.zeros((6, 5, 4))
    values[1, 1, 1] = 3
    ((data, attributes, kind),) = read(write_values(tmp_path / place, values))
    assert kind == "labels"
    assert data.dtype.kind == "u"
    assert attributes["features"]["name"] == ["background", "label 3"]


def test_the_result_of_a_run_has_the_names_of_its_bundle(tmp_path):
    path = write_values(tmp_path / "result.nii.gz", np.ones((6, 5, 4)))
    (tmp_path / "result.json").write_text('{"bundle": {"name": "swin_unetr_hippocampus"}, "output_grid": {}}')
    ((_, attributes, kind),) = read(path)
    assert kind == "labels"
    assert attributes["features"]["name"][1:] == ["anterior_hippocampus", "posterior_hippocampus"]


def test_a_record_that_is_no_run_record_makes_no_labels(tmp_path, write_scan):
    path = write_scan(tmp_path / "scan.nii.gz")
    (tmp_path / "scan.json").write_text('{"EchoTime": 0.03}')
    assert read(path)[0][2] == "image"


def test_the_segments_of_a_slicer_file_keep_their_names_and_colours(tmp_path):
    table = LabelTable(labels=(Label(index=5, name="left lung", color=(10, 20, 30)),))
    labels = np.zeros((6, 5, 4), np.uint8)
    labels[0, 0, 0] = 5
    path = tmp_path / "lungs.seg.nrrd"
    write_labels(Segmentation(labels, Geometry((6, 5, 4), AFFINE), table), path, overwrite=False)
    ((_, attributes, _),) = read(path)
    source = source_of(attributes["metadata"])
    assert [(label.index, label.name, label.color) for label in source.label_table] == [(5, "left lung", (10, 20, 30))]


def test_more_labels_than_a_table_holds_keep_naparis_colours(tmp_path):
    path = tmp_path / "many_seg.nii.gz"
    nib.save(nib.Nifti1Image(np.arange(120).reshape(6, 5, 4).astype(np.int16) * 10, AFFINE), path)
    ((data, attributes, _),) = read(path)
    assert data.max() == 1190
    assert "colormap" not in attributes


def test_a_brats_case_is_four_images_under_its_labels(tmp_path, write_scan):
    brats_case(tmp_path / "BraTS_1", write_scan)
    layers = read(tmp_path / "BraTS_1")
    assert [layer[2] for layer in layers] == ["image"] * 4 + ["labels"]
    assert [layer[1]["name"] for layer in layers[:4]] == [f"BraTS_1 {name}" for name in ("t1", "t1ce", "t2", "flair")]


def test_each_case_of_a_small_cohort_has_its_own_labels(tmp_path, write_scan):
    for name in ("BraTS_1", "BraTS_2"):
        brats_case(tmp_path / name, write_scan)
    names = [layer[1]["name"] for layer in read(tmp_path) if layer[2] == "labels"]
    assert names == ["BraTS_1_seg", "BraTS_2_seg"]


def test_a_large_cohort_is_refused_with_the_way_to_go(tmp_path, write_scan):
    for number in range(9):
        write_scan(tmp_path / f"scan_{number}.nii.gz")
    with pytest.raises(CaseError, match="medseg review FOLDER"):
        read(tmp_path)


def test_a_slice_of_a_series_opens_the_series(tmp_path, test_data):
    slices = sorted((test_data / "DICOM" / "ct_abdomen_jpeg2000_siemens_20slices").glob("CT*"))
    for number, path in enumerate(slices):
        (tmp_path / f"{number}.dcm").symlink_to(path)
    (from_slice,), (from_folder,) = read(tmp_path / "7.dcm"), read(tmp_path)
    assert from_slice[0].shape == (20, 512, 512)
    np.testing.assert_array_equal(from_slice[0], from_folder[0])


@pytest.mark.parametrize("name", ["notes.txt", "picture.png"])
def test_what_medseg_does_not_read_is_left_to_others(tmp_path, name):
    from medseg.review.reader import napari_get_reader

    (tmp_path / name).write_text("x")
    assert napari_get_reader(str(tmp_path / name)) is None
    assert napari_get_reader(str(tmp_path)) is None
