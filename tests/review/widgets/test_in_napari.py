import nibabel as nib
import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("display")


def test_a_real_hippocampus_opens_in_millimetres_with_its_labels(viewer, test_data):
    root = test_data / "Task04_Hippocampus"
    image = sorted(root.rglob("imagesTr/hippocampus_*.nii.gz"))[0]
    labels = next(root.rglob(f"labelsTr/{image.name}"))
    viewer.open([str(image), str(labels)], plugin="medseg", stack=False)
    scan, segmentation = viewer.layers
    stored = nib.load(image)
    assert scan.data.shape == stored.shape[::-1]
    np.testing.assert_allclose(scan.scale, stored.header.get_zooms()[::-1])
    assert {str(unit) for layer in viewer.layers for unit in layer.units} == {"millimeter"}
    assert tuple(viewer.dims.axis_labels) == ("z", "y", "x")
    assert segmentation.data.max() == 2
    assert viewer.layers.extent.units == scan.units  # napari drops them where layers disagree


def test_labels_that_were_painted_are_saved_through_naparis_own_menu(viewer, tmp_path, write_scan):
    path = write_scan(tmp_path / "scan_seg.nii.gz", shape=(12, 10, 8))
    stored = nib.load(path)
    nib.save(nib.Nifti1Image(np.zeros(stored.shape, np.uint8), stored.affine), path)
    viewer.open(str(path), plugin="medseg")
    layer = viewer.layers[0]
    layer.brush_size = 1
    layer.mode = "paint"
    layer.paint((4, 5, 6), 2)
    assert layer.save(str(tmp_path / "edited.nii.gz"), plugin="medseg")
    edited = nib.load(tmp_path / "edited.nii.gz")
    np.testing.assert_array_equal(edited.affine, stored.affine)
    index = layer.metadata["medseg"].grid.index_of((4, 5, 6))
    np.testing.assert_array_equal(np.argwhere(np.asarray(edited.dataobj)), [[int(axis) for axis in index]])


@pytest.mark.parametrize("sample", ["head", "mni152"])
def test_each_sample_opens(viewer, sample):
    viewer.open_sample("medseg", sample)
    assert [layer._type_string for layer in viewer.layers] == ["image", "labels"]


def test_the_preferences_page_holds_what_a_person_set(viewer):
    from napari.settings import get_plugin_settings

    from medseg.review.preferences import review_preferences

    assert review_preferences().overlay_opacity == 0.5
    page = get_plugin_settings("medseg").review
    page.reviewer, page.overlay_opacity = "A. Reader", 0.25
    assert review_preferences().reviewer == "A. Reader"
    assert review_preferences().overlay_opacity == 0.25


@pytest.mark.parametrize("name", ["Orthogonal views", "Area by slice"])
def test_each_widget_opens_from_the_plugin_menu(viewer, qtbot, name):
    viewer.open_sample("medseg", "head")
    dock, widget = viewer.window.add_plugin_dock_widget("medseg", name)
    qtbot.waitUntil(lambda: dock.isVisible() and widget.isVisible(), timeout=5000)
