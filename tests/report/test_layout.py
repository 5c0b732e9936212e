"""The layout: panels at one scale inside their room, stacked only where that pays, and round scale bars."""

import pytest

from medseg.report.layout import lay_out_panels, nice_length_mm

BRAIN = ((240, 240), (240, 155), (240, 155))
SLAB = ((440, 440), (440, 55), (440, 55))
LEFT, TOP, WIDTH, HEIGHT = 10, 70, 1240, 500


def laid_out(sizes_mm):
    """The panels of planes in the usual room."""
    return lay_out_panels(sizes_mm, left=LEFT, top=TOP, width_px=WIDTH, height_px=HEIGHT)


@pytest.mark.parametrize("sizes_mm", [BRAIN, SLAB, ((90, 90),), ((1, 1), (1, 50), (1, 50)), ((0.2, 0.1),) * 3])
def test_all_panels_have_one_scale_and_stay_in_their_room(sizes_mm):
    panels = laid_out(sizes_mm)
    for box, (width_mm, height_mm) in zip(panels.boxes, sizes_mm, strict=True):
        assert box.width == pytest.approx(width_mm * panels.px_per_mm, abs=0.51)
        assert box.height == pytest.approx(height_mm * panels.px_per_mm, abs=0.51)
        assert box.left >= LEFT
        assert box.top >= TOP
        assert box.left + box.width <= LEFT + panels.width
        assert box.top + box.height < panels.scale_bar_y < TOP + panels.height
    assert panels.width <= WIDTH + 1


@pytest.mark.parametrize("sizes_mm", [BRAIN, SLAB])
def test_panels_do_not_overlap(sizes_mm):
    boxes = laid_out(sizes_mm).boxes
    for number, one in enumerate(boxes):
        for other in boxes[number + 1 :]:
            beside = one.left + one.width < other.left or other.left + other.width < one.left
            above = one.top + one.height < other.top or other.top + other.height < one.top
            assert beside or above


def test_planes_of_a_cube_like_scan_stand_side_by_side():
    first, second, third = laid_out(BRAIN).boxes
    assert first.top == second.top == third.top
    assert first.left < second.left < third.left


def test_the_thin_planes_of_a_slab_stand_above_each_other_and_all_become_larger():
    panels = laid_out(SLAB)
    first, second, third = panels.boxes
    assert first.left < second.left == third.left
    assert second.top + second.height < third.top
    assert panels.px_per_mm > (WIDTH / (3 * 440))


def test_a_single_plane_fills_the_height():
    (box,) = laid_out(((90, 90),)).boxes
    assert box.height == HEIGHT


@pytest.mark.parametrize(
    ("longest_mm", "expected_mm"),
    [(1, 1), (1.9, 1), (2, 2), (4.99, 2), (5, 5), (9.9, 5), (73, 50), (0.03, 0.02)],
)
def test_a_scale_bar_is_one_two_or_five_times_a_power_of_ten(longest_mm, expected_mm):
    assert nice_length_mm(longest_mm) == pytest.approx(expected_mm)


def test_a_length_a_hair_below_a_power_of_ten_has_a_scale_bar():
    assert nice_length_mm(999.9999999999999) in (500, 1000)
