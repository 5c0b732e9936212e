import numpy as np
import pytest

from medseg.review.display import PLANES

pytestmark = pytest.mark.usefixtures("napari_installed")

AXIAL, CORONAL, SAGITTAL = PLANES


@pytest.fixture
def scan():
    """One bright voxel at (z, y, x) = (3, 1, 2) of (4, 5, 6), voxels of 3, 2 and 1 mm."""
    from napari.layers import Image

    data = np.zeros((4, 5, 6), np.float32)
    data[3, 1, 2] = 10
    return Image(data, scale=(3, 2, 1), translate=(10, 20, 30), contrast_limits=(0, 10))


def drawn(layers, plane, point_mm=(19, 22, 32)):
    from medseg.review.slices import ViewGrid, draw_plane

    return draw_plane(layers, ViewGrid.of(layers[0]), plane, point_mm)


@pytest.mark.parametrize(("plane", "place"), [(AXIAL, (1, 2)), (CORONAL, (0, 2)), (SAGITTAL, (0, 1))])
def test_a_voxel_is_drawn_at_its_place_with_the_head_up(scan, plane, place):
    picture = drawn([scan], plane)
    assert picture.shape == {"axial": (5, 6, 3), "coronal": (4, 6, 3), "sagittal": (4, 5, 3)}[plane.name]
    np.testing.assert_array_equal(np.argwhere(picture[..., 0]), [place])
    assert tuple(picture[place]) == (255, 255, 255)


def test_labels_lie_over_the_image_as_strongly_as_their_opacity(scan):
    from napari.layers import Labels

    labels = Labels(
        np.full((4, 5, 6), 3, np.uint8), scale=scan.scale, translate=scan.translate, opacity=0.25,
        colormap={None: (0, 0, 0, 0), 0: (0, 0, 0, 0), 3: (1, 0, 0, 1)},
    )  # fmt: skip
    picture = drawn([scan, labels], AXIAL)
    assert tuple(picture[0, 0]) == (64, 0, 0)
    assert tuple(picture[1, 2]) == (255, 191, 191)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_an_outline_leaves_the_inside_clear(scan, dtype):
    from napari.layers import Labels

    data = np.zeros((4, 5, 6), dtype)
    data[3, 1:4, 1:4] = 3
    colormap = {None: (0, 0, 0, 0), 0: (0, 0, 0, 0), 3: (0, 1, 0, 1)}
    labels = Labels(data, scale=scan.scale, translate=scan.translate, opacity=1, colormap=colormap)
    labels.contour = 1
    scan.visible = False
    green = drawn([scan, labels], AXIAL)[..., 1]
    assert np.count_nonzero(green) == 8
    assert green[2, 2] == 0


def test_a_layer_on_another_grid_is_drawn_where_it_lies(scan):
    from napari.layers import Labels

    colormap = {None: (0, 0, 0, 0), 0: (0, 0, 0, 0), 3: (0, 0, 1, 1)}
    small = Labels(
        np.full((1, 1, 2), 3, np.uint8), scale=(3, 2, 1), translate=(19, 24, 33), opacity=1, colormap=colormap
    )
    blue = drawn([scan, small], AXIAL)[..., 2] - drawn([scan], AXIAL)[..., 2]
    np.testing.assert_array_equal(np.argwhere(blue), [(2, 3), (2, 4)])
    assert not drawn([scan, small], AXIAL, (10, 22, 32)).any()


def test_hidden_layers_and_layers_of_other_kinds_are_left_out(scan):
    from napari.layers import Points

    points = Points(np.array([[3.0, 1, 2]]))
    scan.visible = False
    assert not drawn([scan, points], AXIAL).any()


def test_the_nearest_voxel_is_within_the_box(scan):
    from medseg.review.slices import ViewGrid

    grid = ViewGrid.of(scan)
    assert grid.nearest((0, 25.1, 1000)) == (0, 3, 5)
    assert grid.center_mm((3, 1, 2)) == (19, 22, 32)
