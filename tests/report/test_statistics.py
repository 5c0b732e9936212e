"""Statistics: cuboids whose numbers are known, the same numbers in every storage order, and what is refused."""

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medseg.errors import DataError, GeometryError, ImageError, OutputError
from medseg.geometry import Geometry
from medseg.labels import LabelTable
from medseg.report import LabelStatistics, label_statistics, write_statistics
from medseg.segmentation import Segmentation

TABLE = LabelTable.from_entries(
    [
        {"index": 1, "name": "liver", "color": (200, 80, 60)},
        {"index": 2, "name": "spleen", "color": (60, 120, 200)},
    ],
    source="test",
)
SHAPE = (8, 10, 12)
AFFINE = np.array([[-2.0, 0, 0, 40], [0, 3.0, 0, -10], [0, 0, 5.0, 100], [0, 0, 0, 1]])
ALL_48_AXCODES = [
    "".join(codes) for order in itertools.permutations(("LR", "PA", "IS")) for codes in itertools.product(*order)
]


def image_of(array: np.ndarray, affine: np.ndarray = AFFINE) -> MetaTensor:
    """An image with one channel for each leading index of ``array``."""
    return MetaTensor(torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)), affine=torch.from_numpy(affine))


def segmentation_of(labels: np.ndarray, affine: np.ndarray = AFFINE) -> Segmentation:
    """Labels with the two-label table."""
    return Segmentation(np.ascontiguousarray(labels, dtype=np.uint8), Geometry(labels.shape, affine), TABLE)


def cuboid() -> np.ndarray:
    """A liver of 2×3×4 voxels, i from 1, j from 2, k from 5."""
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[1:3, 2:5, 5:9] = 1
    return labels


def statistics_of(labels: np.ndarray, *channels: np.ndarray, affine: np.ndarray = AFFINE) -> list[LabelStatistics]:
    """The statistics on channels c0, c1, … (one of zeros where none is given)."""
    image = image_of(np.stack(channels or (np.zeros(labels.shape),)), affine)
    names = [f"c{number}" for number in range(image.shape[0])]
    return list(label_statistics(segmentation_of(labels, affine), image, channel_names=names))


def test_a_cuboid_has_its_volume_centre_and_size():
    liver, _ = statistics_of(cuboid())
    assert (liver.index, liver.name, liver.voxels) == (1, "liver", 24)
    assert liver.volume_ml == pytest.approx(24 * 30 / 1000)
    assert liver.centroid_mm == pytest.approx((-2 * 1.5 + 40, 3 * 3 - 10, 5 * 6.5 + 100))
    assert liver.extent_mm == pytest.approx((4, 9, 20))
    assert liver.touches_border is False


def test_the_centroid_is_the_mean_of_all_parts_not_the_middle_of_the_box():
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[1, 1, 1:4] = 1
    labels[5, 1, 2] = 1
    liver, _ = statistics_of(labels, affine=np.eye(4))
    assert liver.centroid_mm == pytest.approx((2, 1, 2))


def test_mean_intensity_is_taken_inside_the_label_for_each_channel():
    first = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    second = np.where(cuboid() == 1, 7.0, 1000.0)
    liver, _ = statistics_of(cuboid(), first, second)
    assert liver.mean_intensity == pytest.approx({"c0": float(first[1:3, 2:5, 5:9].mean()), "c1": 7.0})


def test_a_mean_of_many_large_values_does_not_lose_digits():
    labels = np.ones((100, 100, 100), dtype=np.uint8)
    image = np.full(labels.shape, 16_777_216.0)
    image[::2] += 2
    liver, _ = statistics_of(labels, image)
    assert liver.mean_intensity == {"c0": 16_777_217.0}


def test_a_mean_over_values_that_are_not_finite_is_absent():
    image = np.zeros(SHAPE)
    image[1, 2, 5] = math.nan
    liver, _ = statistics_of(cuboid(), image, np.ones(SHAPE))
    assert liver.mean_intensity == {"c0": None, "c1": 1.0}


def test_a_label_without_voxels_has_volume_zero_and_nothing_else():
    _, spleen = statistics_of(cuboid())
    assert spleen == LabelStatistics(
        index=2,
        name="spleen",
        voxels=0,
        volume_ml=0.0,
        mean_intensity=None,
        centroid_mm=None,
        extent_mm=None,
        touches_border=None,
    )


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", [0, -1])
def test_a_label_at_any_of_the_six_sides_touches_the_border(axis, end):
    labels = cuboid()
    where = [2, 3, 6]
    where[axis] = end
    labels[tuple(where)] = 1
    liver, _ = statistics_of(labels)
    assert liver.touches_border is True


def test_the_axis_of_a_single_slice_is_no_border():
    labels = np.zeros((8, 10, 1), dtype=np.uint8)
    labels[3:5, 3:5, 0] = 1
    inside, _ = statistics_of(labels)
    labels[0, 3, 0] = 1
    at_the_edge, _ = statistics_of(labels)
    assert (inside.touches_border, at_the_edge.touches_border) == (False, True)


def test_volume_and_centroid_of_an_oblique_scan_are_in_millimetres_of_the_patient():
    turn = math.radians(30)
    affine = np.eye(4)
    affine[:2, :2] = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]) * 2
    liver, _ = statistics_of(cuboid(), affine=affine)
    centre = 2 * np.array([1.5 * math.cos(turn) - 3 * math.sin(turn), 1.5 * math.sin(turn) + 3 * math.cos(turn)])
    assert liver.volume_ml == pytest.approx(24 * 4 / 1000)
    assert liver.centroid_mm == pytest.approx((*centre, 6.5))
    assert liver.extent_mm == pytest.approx((4, 6, 4))


def test_the_volume_is_the_one_that_the_segmentation_itself_states():
    segmentation = segmentation_of(cuboid())
    (liver, _) = label_statistics(segmentation, image_of(np.zeros((1, *SHAPE))), channel_names=["ct"])
    assert liver.volume_ml == pytest.approx(segmentation.volume_ml("liver"))


@pytest.fixture(scope="session")
def hippocampus(test_data) -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    """A real scan and its two labels."""
    path = sorted((test_data / "Task04_Hippocampus" / "imagesTr").glob("*.nii.gz"))[0]
    return nib.load(path), nib.load(path.parents[1] / "labelsTr" / path.name)


def reoriented_statistics(scan: nib.Nifti1Image, labels: nib.Nifti1Image, axcodes: str) -> list[LabelStatistics]:
    """The statistics after both files were stored in another order of axes."""
    turn = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(scan.affine), nib.orientations.axcodes2ornt(axcodes)
    )
    scan, labels = scan.as_reoriented(turn), labels.as_reoriented(turn)
    return statistics_of(labels.get_fdata().round(), scan.get_fdata(), affine=scan.affine)


@pytest.mark.parametrize("axcodes", ALL_48_AXCODES)
def test_the_storage_order_of_a_scan_changes_no_number(axcodes, hippocampus):
    for stored, expected in zip(
        reoriented_statistics(*hippocampus, axcodes), reoriented_statistics(*hippocampus, "RAS"), strict=True
    ):
        assert stored.centroid_mm == pytest.approx(expected.centroid_mm)
        assert stored.extent_mm == pytest.approx(expected.extent_mm)
        assert stored.mean_intensity == pytest.approx(expected.mean_intensity)
        assert (stored.voxels, stored.touches_border) == (expected.voxels, expected.touches_border)
        assert stored.volume_ml == pytest.approx(expected.volume_ml)


def test_a_hippocampus_has_a_plausible_size_and_its_parts_lie_in_order(hippocampus):
    anterior, posterior = reoriented_statistics(*hippocampus, "RAS")
    assert 1 < anterior.volume_ml < 3
    assert 1 < posterior.volume_ml < 3
    assert anterior.centroid_mm[1] > posterior.centroid_mm[1]


def test_an_image_on_another_grid_is_refused():
    moved = AFFINE.copy()
    moved[0, 3] += 1
    with pytest.raises(GeometryError, match=r"one grid was expected\. Give the scan"):
        label_statistics(segmentation_of(cuboid()), image_of(np.zeros((1, *SHAPE)), moved), channel_names=["ct"])


@pytest.mark.parametrize("names", [[], ["t1"], ["t1", "t1"], ["t1", "t2", "flair"]])
def test_channels_without_one_name_each_are_refused(names):
    with pytest.raises(ImageError, match=r"2 channels .* one name of its own for each channel"):
        label_statistics(segmentation_of(cuboid()), image_of(np.zeros((2, *SHAPE))), channel_names=names)


def test_a_value_that_the_label_table_does_not_have_is_refused():
    labels = cuboid()
    labels[0, 0, 0] = 9
    with pytest.raises(DataError, match=r"hold the value 9, the label table has 1 liver, 2 spleen"):
        statistics_of(labels)


def written(path: Path, statistics: list[LabelStatistics]) -> dict:
    """The values of the file that the statistics become."""
    write_statistics(path, statistics, case_id="case_7", overwrite=False)
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_file_holds_every_label_with_units_in_its_keys(tmp_path):
    values = written(tmp_path / "statistics.json", statistics_of(cuboid()))
    assert values["schema_version"] == 1
    assert values["case_id"] == "case_7"
    assert values["coordinate_system"] == "RAS+ mm"
    assert [label["name"] for label in values["labels"]] == ["liver", "spleen"]
    assert values["labels"][0] == {
        "index": 1,
        "name": "liver",
        "voxels": 24,
        "volume_ml": pytest.approx(0.72),
        "mean_intensity": {"c0": 0.0},
        "centroid_mm": pytest.approx([37, -1, 132.5]),
        "extent_mm": pytest.approx([4, 9, 20]),
        "touches_border": False,
    }
    assert values["labels"][1]["volume_ml"] == 0
    assert values["labels"][1]["centroid_mm"] is None


def test_statistics_are_not_replaced_unasked(tmp_path):
    path = tmp_path / "statistics.json"
    statistics = statistics_of(cuboid())
    write_statistics(path, statistics, case_id="a", overwrite=False)
    with pytest.raises(OutputError, match="exists already"):
        write_statistics(path, statistics, case_id="b", overwrite=False)
    write_statistics(path, [replace(statistics[0], name="other")], case_id="b", overwrite=True)
    assert json.loads(path.read_text(encoding="utf-8"))["labels"][0]["name"] == "other"
