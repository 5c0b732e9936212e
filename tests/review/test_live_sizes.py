import time

import numpy as np
import pytest

from medseg.geometry import Geometry
from medseg.labels import Label, LabelTable
from medseg.review import LabelEditor
from medseg.review.live_sizes import LiveSizes
from medseg.review.measure import longest_diameter_3d, measure_label, recist
from medseg.segmentation import Segmentation

SHAPE = (40, 40, 20)
GEOMETRY = Geometry(SHAPE, np.diag([-1.0, -1.0, 2.0, 1.0]))
TABLE = LabelTable(labels=tuple(Label(index=n, name=f"part_{n}", color=(255, n, 0)) for n in (1, 2, 3)))


@pytest.fixture
def editor():
    labels = np.zeros(SHAPE, np.uint8)
    labels[5:15, 5:9, 3:6] = 1
    labels[20:24, 20:40, 10] = 2
    return LabelEditor.of(Segmentation(labels, GEOMETRY, TABLE))


def settle(sizes):
    """The labels in the order in which they were measured."""
    order, end = [], time.monotonic() + 30
    while sizes.outdated:
        assert time.monotonic() < end
        label = sizes.advance()
        order += [] if label is None else [label]
        time.sleep(0.001)
    return order


def lengths(size):
    return size.recist.longest.length_mm, size.recist.short.length_mm, size.longest_3d.length_mm


def test_every_label_is_measured_once_and_a_missing_one_is_none(editor):
    sizes = LiveSizes(editor)
    assert sizes.sizes == {}
    assert settle(sizes) == [1, 2, 3]
    for label in (1, 2):
        axes, longest = (one(editor.labels, label, geometry=GEOMETRY) for one in (recist, longest_diameter_3d))
        assert lengths(sizes.sizes[label]) == (axes.longest.length_mm, axes.short.length_mm, longest.length_mm)
    assert sizes.sizes[3] is None


def test_only_the_labels_that_an_edit_touched_are_measured_again_the_last_edited_first(editor):
    sizes = LiveSizes(editor)
    settle(sizes)
    before = dict(sizes.sizes)
    box = (slice(30, 35), slice(5, 7), slice(3, 4))
    editor.paint(box, np.full((5, 2, 1), 3, np.uint8))
    editor.paint((slice(5, 6), slice(5, 6), slice(3, 4)), np.full((1, 1, 1), 2, np.uint8))
    assert set(sizes.outdated) == {1, 2, 3}
    assert settle(sizes)[-1] == 3
    assert sizes.sizes[3].recist.longest.length_mm == pytest.approx(np.hypot(5, 1))  # between the middles of faces
    editor.undo()
    editor.undo()
    assert set(settle(sizes)) == {1, 2, 3}
    assert sizes.sizes == before


def test_an_edit_supersedes_the_measurement_of_its_label_that_is_under_way(editor):
    sizes = LiveSizes(editor)
    sizes.advance()
    assert sizes.is_busy
    editor.paint((slice(5, 25), slice(5, 6), slice(3, 4)), np.full((20, 1, 1), 1, np.uint8))
    assert not sizes.is_busy
    assert sizes.outdated[0] == 1
    settle(sizes)
    assert sizes.sizes[1].recist.longest.length_mm == recist(editor.labels, 1, geometry=GEOMETRY).longest.length_mm


def test_a_measurement_can_be_ended_between_its_steps(editor):
    def refuse():
        raise InterruptedError

    with pytest.raises(InterruptedError):
        measure_label(editor.labels, 1, geometry=GEOMETRY, on_step=refuse)
    assert measure_label(editor.labels, 3, geometry=GEOMETRY, on_step=refuse) is None
