import numpy as np
import pytest

from medseg.data import load_schema
from medseg.errors import ReviewError
from medseg.geometry import Geometry
from medseg.review.edits import Limits, nested_regions
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


REGIONS = nested_regions(load_schema("brats_2021"))
ONE_LABEL_TOOLS = [tool for tool in TOOLS if not tool.needs_other]


def a_tumour() -> np.ndarray:
    """Oedema 2 around core 1 around enhancing 4, which has a hole in it, an island and a slice without it."""
    labels = np.zeros(GEOMETRY.shape, np.uint8)
    labels[1:19, 1:19, 1:11] = 2
    labels[3:17, 3:17, 2:10] = 1
    labels[5:12, 5:12, 3:9] = 4
    labels[8, 8, 4], labels[5:12, 5:12, 6], labels[14, 14, 8] = 1, 1, 4
    return labels


def nested_use(label: int, tool, **changes) -> ToolUse:
    amount = tool.amount.usual if tool.amount else 0.0
    return ToolUse(label=label, geometry=GEOMETRY, slice_index=5, amount=amount, regions=REGIONS, **changes)


@pytest.mark.parametrize("label", [4, 1])
@pytest.mark.parametrize("tool", ONE_LABEL_TOOLS, ids=lambda tool: tool.key)
def test_a_tool_on_an_inner_region_leaves_the_regions_around_it_as_they_are(tool, label):
    before = a_tumour()
    try:
        after = tool.edit(nested_use(label, tool))(before)
    except ReviewError as error:
        assert "region" in str(error)  # the core has no gap to fill
        return
    own = REGIONS.painted_by(label)
    for region in REGIONS.regions:
        if region.values > own.values:
            np.testing.assert_array_equal(REGIONS.mask(region.name, after), REGIONS.mask(region.name, before))
    if label == 4:
        assert (REGIONS.mask(own.name, after) != REGIONS.mask(own.name, before)).any()


def test_a_tool_on_a_region_takes_the_labels_inside_it_along():
    before = a_tumour()
    whole = before != 0
    after = tool_named("grow").edit(nested_use(2, tool_named("grow")))(before)
    assert (after[whole] == before[whole]).all()
    assert set(after[~whole]) == {0, 2}
    shrunk = tool_named("shrink").edit(nested_use(1, tool_named("shrink")))(before)
    np.testing.assert_array_equal(shrunk != 0, whole)
    assert ((shrunk == 4) == (before == 4)).all()


def test_locked_labels_are_locked_for_tools_on_regions_too():
    tool = tool_named("grow")
    with pytest.raises(ReviewError, match="label 4 is locked"):
        tool.edit(nested_use(4, tool, limits=Limits(protected=frozenset({4}))))(a_tumour())
    after = tool.edit(nested_use(4, tool, limits=Limits(protected=frozenset({1}))))(a_tumour())
    np.testing.assert_array_equal(after == 1, a_tumour() == 1)


def test_with_nesting_off_a_tool_works_on_the_label_alone():
    tool = tool_named("shrink")
    after = tool.edit(ToolUse(label=4, geometry=GEOMETRY, amount=1.0))(a_tumour())
    assert not after[5, 7, 5]
