import numpy as np
import pytest

from medseg.errors import ReviewError
from medseg.geometry import Geometry
from medseg.review.tools import TOOLS, ToolUse, tool_named

GEOMETRY = Geometry((20, 20, 12), np.diag([1.0, 1.0, 2.0, 1.0]))


def a_label_map() -> np.ndarray:
    """Label 1: a block with a hole, painted on every other slice, and an island; label 2: a block right of it."""
    labels = np.zeros(GEOMETRY.shape, np.uint8)
    labels[3:10, 3:10, 3:8] = 1
    labels[6, 6, 4] = 0
    labels[3:10, 3:10, 6] = 0
    labels[1, 18, 7] = 1
    labels[14:17, 3:10, 3:8] = 2
    return labels


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.key)
def test_every_tool_changes_its_label_and_says_what_it_did(tool):
    labels = a_label_map()
    amount = tool.amount.usual if tool.amount else 0.0
    use = ToolUse(label=1, geometry=GEOMETRY, axis=2, slice_index=5, step=1, other=2, amount=amount)
    after = tool.edit(use)(labels)
    assert (after != labels).any()
    np.testing.assert_array_equal(labels, a_label_map())
    assert tool.describe(use).startswith(tool.title.lower())


@pytest.mark.parametrize("key", ["split", "split_pieces", "swap", "merge"])
def test_a_tool_on_two_labels_asks_for_the_second(key):
    with pytest.raises(ReviewError, match="second label"):
        tool_named(key).edit(ToolUse(label=1, geometry=GEOMETRY))


def test_splitting_gives_the_patients_right_to_the_second_label():
    labels = np.zeros(GEOMETRY.shape, np.uint8)
    labels[4:16] = 1
    after = tool_named("split").edit(ToolUse(label=1, other=3, geometry=GEOMETRY))(labels)
    assert (after[4:10] == 1).all()  # RAS+: the first axis runs to the right
    assert (after[10:16] == 3).all()


def test_copying_a_slice_goes_the_way_the_screen_counts():
    labels = np.zeros(GEOMETRY.shape, np.uint8)
    labels[3:6, 3:6, 5] = 1
    use = ToolUse(label=1, geometry=GEOMETRY, axis=2, slice_index=5, step=-1)
    after = tool_named("copy_slice").edit(use)(labels)
    assert sorted(set(np.nonzero(after)[2].tolist())) == [4, 5]


def test_an_unknown_tool_is_named_with_those_that_exist():
    with pytest.raises(ReviewError, match="grow, shrink"):
        tool_named("melt")
