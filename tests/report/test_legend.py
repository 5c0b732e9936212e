"""The legend: found labels first, no more lines than there is room for, volumes with three digits."""

import pytest

from medseg.labels import LabelTable
from medseg.report.legend import LegendLine, format_volume_ml, legend_lines
from medseg.report.statistics import LabelStatistics


def table(count: int) -> LabelTable:
    """Labels 1 to ``count``."""
    entries = [{"index": index, "name": f"part {index}", "color": (index, 0, 0)} for index in range(1, count + 1)]
    return LabelTable.from_entries(entries, source="test")


def statistics(index: int, *, voxels: int, touches_border: bool = False) -> LabelStatistics:
    """A label of voxels of 1 mL."""
    return LabelStatistics(
        index=index,
        name=f"part {index}",
        voxels=voxels,
        volume_ml=float(voxels),
        mean_intensity=None,
        centroid_mm=None,
        extent_mm=None,
        touches_border=touches_border if voxels else None,
    )


def test_found_labels_come_first_with_colour_and_volume():
    entries = [statistics(1, voxels=0), statistics(2, voxels=5, touches_border=True), statistics(3, voxels=7)]
    lines = legend_lines(entries, table(3), in_planes={0, 3}, room=10)
    assert lines == (
        LegendLine(text="part 2", volume="5.00 mL", color=(2, 0, 0), is_in_planes=False, is_cut=True),
        LegendLine(text="part 3", volume="7.00 mL", color=(3, 0, 0), is_in_planes=True, is_cut=False),
        LegendLine(text="part 1", volume="not found"),
    )


def test_where_nothing_is_found_one_line_says_so():
    lines = legend_lines([statistics(1, voxels=0), statistics(2, voxels=0)], table(2), in_planes={0}, room=10)
    assert lines == (LegendLine(text="nothing found"),)


def test_the_last_line_counts_what_has_no_room():
    entries = [statistics(index, voxels=index % 10) for index in range(1, 101)]
    lines = legend_lines(entries, table(100), in_planes=set(), room=8)
    assert len(lines) == 8
    assert [line.text for line in lines[:2]] == ["part 1", "part 2"]
    assert lines[-1].text == "and 83 more, 10 not found"


def test_the_last_line_counts_absent_labels_alone_where_all_found_ones_are_named():
    entries = [statistics(1, voxels=1), *(statistics(index, voxels=0) for index in range(2, 11))]
    lines = legend_lines(entries, table(10), in_planes=set(), room=4)
    assert [line.text for line in lines] == ["part 1", "part 2", "part 3", "and 7 not found"]


def test_as_many_labels_as_lines_need_no_last_line():
    entries = [statistics(index, voxels=1) for index in range(1, 6)]
    assert [line.text for line in legend_lines(entries, table(5), in_planes=set(), room=5)][-1] == "part 5"


@pytest.mark.parametrize(
    ("volume_ml", "text"),
    [
        (1532.4, "1532 mL"),
        (100.0, "100 mL"),
        (99.96, "100 mL"),
        (12.345, "12.3 mL"),
        (1.0, "1.00 mL"),
        (0.012, "0.0120 mL"),
        (0.0000123, "1.2e-05 mL"),
    ],
)
def test_a_volume_has_three_digits(volume_ml, text):
    assert format_volume_ml(volume_ml) == text
