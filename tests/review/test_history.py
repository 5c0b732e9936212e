import numpy as np
import pytest

from medseg.errors import GeometryError
from medseg.review import Delta, History, delta_between


def labels_with(*points: tuple[int, int, int]) -> np.ndarray:
    labels = np.zeros((40, 5, 6), np.uint8)
    for point in points:
        labels[point] = 1
    return labels


def test_a_delta_holds_the_changed_voxels_and_no_other():
    delta = delta_between(labels_with((0, 1, 2)), labels_with((39, 4, 5)), name="move")
    assert sorted(zip(delta.positions.tolist(), delta.before.tolist(), delta.after.tolist(), strict=True)) == [
        (8, 1, 0),
        (39 * 30 + 29, 0, 1),
    ]
    assert delta.box() == (slice(0, 40), slice(1, 5), slice(2, 6))


def test_an_edit_that_changes_nothing_is_empty():
    delta = delta_between(labels_with(), labels_with(), name="nothing")
    assert len(delta) == 0
    assert delta.box() == (slice(0, 0), slice(0, 0), slice(0, 0))


def test_undoing_and_redoing_every_edit_visits_the_same_states():
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 4, (20, 9, 8), np.uint8)
    history, states = History(), [labels.copy()]
    for number in range(300):  # more than napari's own hundred
        before = labels.copy()
        labels[rng.integers(20), rng.integers(9), :] = rng.integers(0, 4, 8)
        history.add(delta_between(before, labels, name=f"edit {number}"))
        states.append(labels.copy())
    for state in reversed(states[:-1]):
        history.undo(labels)
        np.testing.assert_array_equal(labels, state)
    assert history.undo(labels) is None
    for state in states[1:]:
        history.redo(labels)
        np.testing.assert_array_equal(labels, state)
    assert history.redo(labels) is None


def test_a_new_edit_forgets_what_was_undone():
    labels = labels_with()
    history = History()
    for name in ("first", "second"):
        history.add(Delta(np.array([3]), np.array([0], np.uint8), np.array([1], np.uint8), labels.shape, name))
    history.undo(labels)
    history.add(Delta(np.array([4]), np.array([0], np.uint8), np.array([1], np.uint8), labels.shape, "third"))
    assert [delta.name for delta in history.done] == ["first", "third"]
    assert history.redo(labels) is None


def test_a_delta_refuses_labels_of_another_shape():
    delta = delta_between(labels_with(), labels_with((0, 0, 0)), name="paint")
    with pytest.raises(GeometryError, match="Open the case again"):
        delta.applied_to(np.zeros((4, 4, 4), np.uint8))
