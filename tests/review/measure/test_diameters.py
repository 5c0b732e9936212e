"""Diameters of shapes with closed forms, in every orientation, and of a tumour that PyRadiomics measured."""

from itertools import permutations, product

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.distance import pdist

from medseg.errors import ReviewError
from medseg.geometry import Geometry
from medseg.review.measure import axial_axis, longest_diameter_3d, measure_lesions, recist
from medseg.review.measure.outline import surface_points, to_mm

ALL_48_AXCODES = [
    "".join(pair[side] for pair, side in zip(order, sides, strict=True))
    for order in permutations(("LR", "PA", "IS"))
    for sides in product((0, 1), repeat=3)
]
RAS = np.diag([0.8, 0.8, 2.5, 1.0])


def grid(labels, affine=RAS):
    return Geometry(labels.shape, affine)


def ellipse(shape, axes_mm, angle_deg, spacing=(0.8, 0.8), slices=np.s_[3:5]):
    labels = np.zeros(shape, np.uint8)
    x = (np.arange(shape[0])[:, None] - shape[0] / 2 + 0.3) * spacing[0]
    y = (np.arange(shape[1])[None, :] - shape[1] / 2 + 0.1) * spacing[1]
    angle = np.radians(angle_deg)
    u, v = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    labels[:, :, slices] = ((2 * u / axes_mm[0]) ** 2 + (2 * v / axes_mm[1]) ** 2 <= 1)[:, :, None]
    return labels


def across_angle(found):
    along, over = (np.subtract(*one.points_mm) for one in (found.longest, found.short))
    return abs(along @ over) / np.linalg.norm(along) / np.linalg.norm(over)


@pytest.mark.parametrize("diameter_mm", [10.0, 24.0, 60.0])
def test_a_disc_reads_its_diameter_and_less_than_a_pixel_more(diameter_mm):
    labels = ellipse((100, 100, 8), (diameter_mm, diameter_mm), 0)
    found = recist(labels, 1, geometry=grid(labels))
    assert 0.3 < found.longest.length_mm - diameter_mm < 0.8, "pixels are 0.8 mm"
    assert abs(found.short.length_mm - diameter_mm) < 0.8
    assert (found.axis, found.slice_index) == (2, 3), "of equal slices the lowest"


@pytest.mark.parametrize("angle_deg", [0, 17, 30, 45, 80, 90, 133])
@pytest.mark.parametrize("spacing", [(0.8, 0.8), (0.5, 1.2)])
def test_an_ellipse_has_its_two_axes_in_mm_at_any_angle(angle_deg, spacing):
    labels = ellipse((160, 160, 8), (50.0, 22.0), angle_deg, spacing)
    found = recist(labels, 1, geometry=grid(labels, np.diag([*spacing, 3.0, 1.0])))
    assert found.longest.length_mm == pytest.approx(50.0, abs=max(spacing))
    assert found.short.length_mm == pytest.approx(22.0, abs=max(spacing))
    assert across_angle(found) < 1e-9
    direction = np.subtract(*found.longest.points_mm)[:2] / found.longest.length_mm
    expected = [np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))]
    assert abs(direction @ expected) > np.cos(np.radians(8))


def test_a_row_of_pixels_is_as_long_as_it_is_edge_to_edge():
    labels = np.zeros((20, 10, 3), np.uint8)
    labels[4:14, 5, 1] = 1
    found = recist(labels, 1, geometry=grid(labels))
    assert found.longest.length_mm == pytest.approx(8.0)
    assert sorted(found.longest.voxels) == [(3.5, 5.0, 1.0), (13.5, 5.0, 1.0)]
    assert found.short.length_mm == pytest.approx(0.8)


def test_one_voxel_measures_one_pixel():
    labels = np.zeros((5, 5, 5), np.uint8)
    labels[2, 3, 4] = 1
    found = recist(labels, 1, geometry=grid(labels, np.diag([0.7, 0.7, 3.0, 1.0])))
    assert found.longest.length_mm == pytest.approx(0.7)
    assert found.short.length_mm == pytest.approx(0.7)
    assert longest_diameter_3d(labels, 1, geometry=grid(labels, np.diag([0.7, 0.7, 3.0, 1.0]))).length_mm == 3.0


def test_a_box_is_measured_between_the_edges_of_its_outermost_pixels():
    labels = np.zeros((60, 40, 4), np.uint8)
    labels[10:50, 10:30, 1] = 1
    found = recist(labels, 1, geometry=grid(labels, np.eye(4)))
    assert found.longest.length_mm == pytest.approx(np.hypot(40, 19))  # edge centres: (9.5, 10) to (49.5, 29)
    assert found.longest.length_mm == pytest.approx(np.hypot(40, 20), abs=0.5), "the corners cost half a voxel"
    # Perpendicular to the diagonal, from long side to long side, 20 apart.
    assert found.short.length_mm == pytest.approx(20 * np.hypot(40, 19) / 40)


def test_a_ring_is_as_wide_as_the_disc_around_it():
    disc = ellipse((100, 100, 3), (60.0, 40.0), 20, slices=np.s_[1:2])
    ring = np.where(ellipse((100, 100, 3), (50.0, 30.0), 20, slices=np.s_[1:2]) == 1, 0, disc).astype(np.uint8)
    assert recist(ring, 1, geometry=grid(ring)) == recist(disc, 1, geometry=grid(disc))


def test_the_short_axis_of_a_crescent_is_its_thickness_not_its_depth():
    i, j = np.ogrid[:200, :120]
    outer = (i - 100) ** 2 + (j - 20) ** 2 <= 80**2
    inner = (i - 100) ** 2 + (j - 20) ** 2 < 60**2
    crescent = ((outer & ~inner & (j >= 20))[:, :, None]).astype(np.uint8)
    found = recist(crescent, 1, geometry=grid(crescent, np.eye(4)))
    assert found.longest.length_mm == pytest.approx(161, abs=0.5), "from tip to tip"
    # Along a chord parallel to the axis of symmetry, at distance a from it: sqrt(80² - a²) - sqrt(60² - a²), at most
    # sqrt(80² - 60²) where it touches the inner circle.
    assert found.short.length_mm == pytest.approx(np.sqrt(80**2 - 60**2), abs=2.0)


def test_the_slice_with_the_longest_diameter_is_found_not_that_with_the_largest_area():
    labels = np.zeros((60, 60, 6), np.uint8)
    labels[10:30, 10:30, 1] = 1  # 28 long, 400 pixels
    labels[5:55, 20:23, 4] = 1  # 50 long, 150 pixels
    assert recist(labels, 1, geometry=grid(labels)).slice_index == 4


@pytest.mark.parametrize("axcodes", ALL_48_AXCODES)
def test_the_diameters_lie_in_the_same_place_in_every_orientation(axcodes):
    labels = ellipse((90, 90, 8), (50.0, 22.0), 30)
    labels[40:50, 40, :] = 1
    reference = recist(labels, 1, geometry=grid(labels))
    transform = nib.orientations.ornt_transform(nib.io_orientation(RAS), nib.orientations.axcodes2ornt(axcodes))
    turned = np.ascontiguousarray(nib.orientations.apply_orientation(labels, transform))
    geometry = Geometry(turned.shape, RAS @ nib.orientations.inv_ornt_aff(transform, labels.shape))
    found = recist(turned, 1, geometry=geometry)
    assert found.axis == max(axcodes.find("S"), axcodes.find("I")) == axial_axis(geometry)
    assert found.longest.length_mm == pytest.approx(reference.longest.length_mm)
    assert found.short.length_mm == pytest.approx(reference.short.length_mm, abs=0.1)
    assert across_angle(found) < 1e-9
    heights = {round(point[2], 6) for one in (found.longest, found.short) for point in one.points_mm}
    assert len(heights) == 1, "both diameters lie in one axial plane"
    for diameter in (found.longest, found.short):
        placed = np.array(diameter.voxels) @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]
        np.testing.assert_allclose(placed, diameter.points_mm)


def test_on_a_turned_and_sheared_grid_lengths_are_those_of_the_patient():
    turn = np.linalg.qr(np.array([[1.0, 0.2, 0.1], [-0.15, 1.0, 0.2], [0.05, -0.25, 1.0]]))[0]
    turn = turn * np.sign(np.diag(turn))
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.array([[0.8, 0.3, 0.0], [0.0, 0.9, 0.5], [0.0, 0.0, 2.0]])
    affine[:3, 3] = 30.0, -20.0, 5.0
    plane = affine[:3, :2]
    i, j = np.meshgrid(np.arange(120) - 60, np.arange(120) - 60, indexing="ij")
    places = np.stack([i, j], -1) @ plane.T  # mm from the middle
    labels = np.zeros((120, 120, 5), np.uint8)
    labels[:, :, 2] = np.linalg.norm(places, axis=-1) <= 20
    found = recist(labels, 1, geometry=Geometry(labels.shape, affine))
    assert found.longest.length_mm == pytest.approx(40.0, abs=0.9)
    assert found.short.length_mm == pytest.approx(40.0, abs=0.9)
    assert across_angle(found) < 1e-9


def test_a_ball_is_as_long_in_3d_as_its_diameter_and_a_box_as_its_diagonal():
    i, j, k = np.ogrid[:60, :60, :30]
    ball = ((i - 29.6) ** 2 + (j - 29.6) ** 2 + (2 * (k - 14.7)) ** 2 <= 25**2).astype(np.uint8)
    geometry = grid(ball, np.diag([1.0, 1.0, 2.0, 1.0]))
    assert longest_diameter_3d(ball, 1, geometry=geometry).length_mm == pytest.approx(50.0, abs=2.0)  # a voxel
    box = np.zeros((50, 40, 30), np.uint8)
    box[5:45, 5:35, 5:25] = 1
    length = longest_diameter_3d(box, 1, geometry=grid(box, np.eye(4))).length_mm
    assert length == pytest.approx(np.sqrt(40**2 + 29**2 + 19**2))


def test_the_farthest_points_are_those_of_all_pairs():
    rng = np.random.default_rng(4)
    labels = (rng.random((14, 12, 9)) > 0.9).astype(np.uint8)
    spacing = np.array([0.7, 1.1, 2.0])
    faces = []
    for axis in range(3):
        padded = np.pad(labels, 1)
        for side in (-1, 1):
            outer = (padded == 1) & (np.roll(padded, -side, axis) == 0)
            points = np.argwhere(outer) - 1.0
            points[:, axis] += side / 2
            faces.append(points)
    expected = pdist(np.concatenate(faces) * spacing).max()
    found = longest_diameter_3d(labels, 1, geometry=grid(labels, np.diag([*spacing, 1.0])))
    assert found.length_mm == pytest.approx(expected)


def test_every_piece_is_measured_by_itself_the_largest_first():
    labels = np.zeros((60, 60, 12), np.uint8)
    labels[40:45, 40:45, 8:10] = 1
    labels[5:25, 5:15, 2:5] = 1
    labels[50, 3, 3] = 1
    labels[50, 10:30, 3] = 2
    lesions = measure_lesions(labels, 1, geometry=grid(labels, np.eye(4)), smallest_ml=0.01)
    assert [lesion.volume_ml for lesion in lesions] == [0.6, 0.05]
    assert [lesion.box for lesion in lesions] == [np.s_[5:25, 5:15, 2:5], np.s_[40:45, 40:45, 8:10]]
    assert [lesion.recist.slice_index for lesion in lesions] == [2, 8]
    assert lesions[0].recist.longest.length_mm == pytest.approx(np.hypot(20, 9))
    assert lesions[1].longest_3d.length_mm == pytest.approx(np.sqrt(5**2 + 4**2 + 1))
    assert len(measure_lesions(labels, 1, geometry=grid(labels, np.eye(4)))) == 3
    for lesion in lesions:
        for point in lesion.recist.longest.voxels:
            assert all(side.start - 0.5 <= at <= side.stop - 0.5 for at, side in zip(point, lesion.box, strict=True))


def test_measuring_a_label_that_is_nowhere_is_refused():
    labels = np.zeros((4, 4, 4), np.uint8)
    for measure in (recist, longest_diameter_3d, measure_lesions):
        with pytest.raises(ReviewError, match="label 6 is nowhere"):
            measure(labels, 6, geometry=grid(labels))


def test_a_tumour_is_as_long_as_pyradiomics_measured_it(test_data):
    stored = sitk.ReadImage(str(test_data / "PyRadiomics/brain1_label.nrrd"))
    labels = sitk.GetArrayFromImage(stored).astype(np.uint8).transpose(2, 1, 0)
    geometry = Geometry(labels.shape, np.diag([*stored.GetSpacing(), 1.0]))
    # Maximum3DDiameter of case brain1 in data/baseline/baseline_shape.csv of github.com/AIM-Harvard/pyradiomics, 2.1
    assert longest_diameter_3d(labels, 1, geometry=geometry).length_mm == pytest.approx(69.6009903059, abs=1e-9)


def test_a_real_enhancing_tumour_has_diameters_within_its_box(test_data):
    scan = nib.load(test_data / "BraTS/expert/BraTS2021_00006/BraTS2021_00006_seg.nii.gz")
    labels = np.asarray(scan.dataobj).astype(np.uint8)
    geometry = Geometry(labels.shape, scan.affine)
    lesion = measure_lesions(labels, 4, geometry=geometry)[0]
    extents = np.array([side.stop - side.start for side in lesion.box]) * geometry.spacing_mm
    assert extents[:2].max() - 1 <= lesion.recist.longest.length_mm <= np.hypot(*extents[:2])
    assert lesion.recist.short.length_mm <= lesion.recist.longest.length_mm <= lesion.longest_3d.length_mm
    assert lesion.longest_3d.length_mm <= np.linalg.norm(extents)


@pytest.mark.parametrize("radii", [(30, 6, 5), (25, 25, 4), (14, 15, 16), (40, 3, 1)])
def test_the_longest_diameter_of_a_large_shape_is_that_of_all_its_surface_points(radii):
    grid = np.ogrid[tuple(slice(-radius, radius + 1) for radius in radii)]
    mask = sum((axis / (radius + 0.3)) ** 2 for axis, radius in zip(grid, radii, strict=True)) <= 1
    affine = np.array([[0.9, 0.2, 0, 4], [-0.1, 0.8, 0.3, 5], [0.2, 0, 2.0, 6], [0, 0, 0, 1]])
    geometry = Geometry(mask.shape, affine)
    placed = to_mm(surface_points(mask, axes=(0, 1, 2)), affine)
    expected = max(float(np.linalg.norm(placed - point, axis=1).max()) for point in placed)
    found = longest_diameter_3d(mask.astype(np.uint8), 1, geometry=geometry)
    assert found.length_mm == pytest.approx(expected, abs=1e-9)
