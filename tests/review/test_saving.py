import random
from pathlib import Path

import numpy as np
import pytest

from medseg.geometry import Geometry
from medseg.labels import Label, LabelTable
from medseg.review import LabelEditor
from medseg.review.autosave import recover
from medseg.review.saving import EditSaver
from medseg.segmentation import Segmentation

SHAPE = (6, 7, 8)
EMPTY = np.zeros(SHAPE, np.uint8)
TABLE = LabelTable(labels=(Label(index=1, name="liver", color=(200, 0, 0)),))


def opened(path: Path, labels: np.ndarray = EMPTY) -> tuple[LabelEditor, EditSaver]:
    editor = LabelEditor.of(Segmentation(labels, Geometry(SHAPE, np.eye(4)), TABLE))
    return editor, EditSaver(editor, path, case_id="a", reviewer="R. Eader")


def paint(editor: LabelEditor, plane: int, value: int) -> None:
    editor.paint((slice(plane, plane + 1), slice(0, 7), slice(0, 8)), np.full((1, 7, 8), value, np.uint8))


def test_nothing_is_written_before_the_first_edit(tmp_path):
    _, saver = opened(tmp_path / "a.edits")
    assert saver.save() == 0
    assert not saver.has_edits
    assert not any(tmp_path.iterdir())


def test_edits_with_undo_and_redo_come_back_with_their_history(tmp_path):
    path = tmp_path / "a.edits"
    editor, saver = opened(path)
    for plane in range(4):
        paint(editor, plane, 1)
    editor.undo()
    editor.undo()
    editor.redo()
    assert not saver.is_saved
    assert saver.save() == 7
    assert saver.is_saved
    again, resumed = opened(path)
    resumed.resume(recover(path, again.opened))
    np.testing.assert_array_equal(again.labels, editor.labels)
    assert (len(again.history.done), len(again.history.undone)) == (3, 1)
    again.undo()
    resumed.save()
    editor.undo()
    np.testing.assert_array_equal(recover(path, again.opened).labels, editor.labels)


def test_undoing_what_was_accepted_before_is_saved_too(tmp_path):
    path = tmp_path / "a.edits"
    editor, saver = opened(path)
    paint(editor, 0, 1)
    paint(editor, 1, 1)
    saver.save()
    saver.rebase()
    accepted = editor.labels.copy()
    assert not path.exists()
    editor.undo()
    editor.undo()
    editor.redo()
    paint(editor, 4, 1)
    editor.undo()
    editor.redo()
    saver.save()
    np.testing.assert_array_equal(recover(path, accepted).labels, editor.labels)
    assert (editor.labels[0] == 1).all()
    assert (editor.labels[4] == 1).all()
    assert not editor.labels[1].any()


def test_making_again_what_was_undone_before_the_acceptance_is_saved_too(tmp_path):
    path = tmp_path / "a.edits"
    editor, saver = opened(path)
    paint(editor, 0, 1)
    editor.undo()
    saver.save()
    saver.rebase()
    accepted = editor.labels.copy()
    editor.redo()
    paint(editor, 4, 1)
    saver.save()
    recovered = recover(path, accepted)
    np.testing.assert_array_equal(recovered.labels, editor.labels)
    assert recovered.lost_bytes == 0


@pytest.mark.parametrize("seed", range(40))
def test_whatever_order_of_edits_undo_redo_acceptance_and_crashes_nothing_saved_is_lost(tmp_path, seed):
    draw, path, base = random.Random(seed), tmp_path / "a.edits", EMPTY
    editor, saver = opened(path)
    for _ in range(40):
        step = draw.choice(["edit", "edit", "edit", "undo", "undo", "redo", "accept", "crash"])
        if step == "edit":
            paint(editor, draw.randrange(SHAPE[0]), draw.randrange(2))
        elif step in ("undo", "redo"):
            getattr(editor, step)()
        saver.save()
        if step == "accept":
            base = editor.labels.copy()
            saver.rebase()
        elif step == "crash":
            left = editor.labels.copy()
            editor, saver = opened(path, base)
            if path.exists():
                saver.resume(recover(path, base))
            np.testing.assert_array_equal(editor.labels, left)


def test_discarding_removes_the_file(tmp_path):
    path = tmp_path / "a.edits"
    editor, saver = opened(path)
    paint(editor, 0, 1)
    saver.save()
    saver.discard()
    assert not path.exists()
    assert not saver.has_edits
