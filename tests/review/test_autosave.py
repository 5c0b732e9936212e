"""Edits come back after a crash, up to the last one that was on the disk."""

import multiprocessing
import os
import random
import signal
import time

import numpy as np
import pytest

from medseg.errors import DataError, OutputError
from medseg.review import Autosave, Delta, History, delta_between, read_autosave_header, recover

SHAPE = (24, 20, 16)


def base_labels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4, SHAPE).astype(np.uint8)


class Editor:
    """Edits, undos and redos at random, always the same ones for one seed."""

    def __init__(self, seed: int, autosave: Autosave | None = None):
        self.rng = np.random.default_rng(seed)
        self.labels, self.history, self.autosave = base_labels(), History(), autosave

    def step(self) -> None:
        choice = self.rng.random()
        if choice < 0.2 and self.history.done:
            self.history.undo(self.labels)
            if self.autosave:
                self.autosave.undo()
        elif choice < 0.3 and self.history.undone:
            self.history.redo(self.labels)
            if self.autosave:
                self.autosave.redo()
        else:
            count = int(self.rng.integers(0, 400))
            positions = self.rng.choice(np.prod(SHAPE), count, replace=False).astype(np.int64)  # in no order
            after = self.rng.integers(0, 4, count).astype(np.uint8)
            delta = Delta(positions, self.labels.reshape(-1)[positions], after, SHAPE, f"stroke ä {count}")
            delta.applied_to(self.labels)
            self.history.add(delta)
            if self.autosave:
                self.autosave.edit(delta)


def start(path, **changes) -> Autosave:
    return Autosave.start(path, base_labels(), **({"case_id": "case_1", "reviewer": "reader 1"} | changes))


def assert_same_history(found: History, expected: History) -> None:
    for ours, theirs in ((found.done, expected.done), (found.undone, expected.undone)):
        assert [delta.name for delta in ours] == [delta.name for delta in theirs]
        for one, other in zip(ours, theirs, strict=True):
            for part in ("positions", "before", "after"):
                np.testing.assert_array_equal(getattr(one, part), getattr(other, part))


def test_labels_and_history_come_back_with_what_was_undone(tmp_path):
    editor = Editor(3, start(tmp_path / "a.edits"))
    for number in range(120):
        editor.step()
        if number % 7 == 0:
            editor.autosave.flush()
    for _ in range(2):
        editor.history.undo(editor.labels)
        editor.autosave.undo()
    editor.autosave.flush()
    found = recover(tmp_path / "a.edits", base_labels())
    np.testing.assert_array_equal(found.labels, editor.labels)
    assert_same_history(found.history, editor.history)
    assert len(found.history.undone) >= 2
    assert (found.records, found.lost_bytes) == (122, 0)
    assert "nothing was lost" in found.summary
    while found.history.undo(found.labels):
        pass
    np.testing.assert_array_equal(found.labels, base_labels())


def test_what_was_noted_but_not_flushed_is_pending(tmp_path):
    editor = Editor(3, start(tmp_path / "a.edits"))
    editor.step()
    editor.step()
    assert editor.autosave.pending == 2
    assert recover(tmp_path / "a.edits", base_labels()).records == 0
    assert editor.autosave.flush() == 2
    assert (editor.autosave.pending, editor.autosave.flush()) == (0, 0)


def test_wherever_the_file_is_cut_everything_before_comes_back(tmp_path):
    path = tmp_path / "a.edits"
    editor, ends, states = Editor(5, start(path)), [path.stat().st_size], [base_labels()]
    for _ in range(6):
        editor.step()
        editor.autosave.flush()
        ends.append(path.stat().st_size)
        states.append(editor.labels.copy())
    whole = path.read_bytes()
    for cut in range(ends[0], len(whole) + 1):
        path.write_bytes(whole[:cut])
        found = recover(path, base_labels())
        records = sum(end <= cut for end in ends[1:])
        assert found.records == records
        assert found.lost_bytes == cut - ends[records]
        np.testing.assert_array_equal(found.labels, states[records])
    for cut in range(ends[0]):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match="no header"):
            recover(path, base_labels())


def test_a_damaged_record_ends_what_comes_back_and_is_told(tmp_path):
    path = tmp_path / "a.edits"
    editor = Editor(5, start(path))
    editor.step()
    editor.autosave.flush()
    first = path.stat().st_size
    for _ in range(3):
        editor.step()
    editor.autosave.flush()
    damaged = bytearray(path.read_bytes())
    damaged[first + 20] ^= 1
    path.write_bytes(bytes(damaged))
    found = recover(path, base_labels())
    assert found.records == 1
    assert found.lost_bytes == len(damaged) - first
    assert f"last {found.lost_bytes} bytes" in found.summary


def test_editing_goes_on_after_a_recovery_in_the_same_file(tmp_path):
    path = tmp_path / "a.edits"
    editor = Editor(9, start(path))
    for _ in range(10):
        editor.step()
    editor.autosave.flush()
    with path.open("ab") as file:
        file.write(b"torn")
    found = recover(path, base_labels())
    editor.autosave = Autosave.resume(path, found)
    for _ in range(10):
        editor.step()
    editor.autosave.flush()
    again = recover(path, base_labels())
    assert (again.records, again.lost_bytes) == (20, 0)
    np.testing.assert_array_equal(again.labels, editor.labels)


def test_edits_of_other_labels_are_refused(tmp_path):
    start(tmp_path / "a.edits")
    other = base_labels()
    other[0, 0, 0] += 1
    for labels in (other, base_labels().transpose(2, 1, 0)):
        with pytest.raises(DataError, match="edits of other labels"):
            recover(tmp_path / "a.edits", labels)


def test_edits_of_an_earlier_session_are_not_overwritten(tmp_path):
    start(tmp_path / "a.edits")
    with pytest.raises(OutputError, match="recover or discard"):
        start(tmp_path / "a.edits")
    assert read_autosave_header(tmp_path / "a.edits").reviewer == "reader 1"


def test_a_discarded_file_is_gone_and_does_not_come_back(tmp_path):
    editor = Editor(3, start(tmp_path / "a.edits"))
    editor.step()
    editor.autosave.discard()
    editor.step()
    with pytest.raises(OutputError, match="cannot be saved"):
        editor.autosave.flush()
    assert list(tmp_path.iterdir()) == []


def test_a_session_that_lost_its_file_to_another_does_not_write_into_it(tmp_path):
    path = tmp_path / "a.edits"
    first = Editor(3, start(path))
    first.step()
    first.autosave.flush()
    second = Autosave.resume(path, recover(path, base_labels()))
    second.undo()
    second.flush()
    whole = path.read_bytes()
    first.step()
    with pytest.raises(OutputError, match="changed by another session"):
        first.autosave.flush()
    assert first.autosave.pending == 1
    assert path.read_bytes() == whole


def test_an_edit_that_changed_nothing_comes_back_too(tmp_path):
    autosave = start(tmp_path / "a.edits")
    autosave.edit(delta_between(base_labels(), base_labels(), name=""))
    autosave.flush()
    found = recover(tmp_path / "a.edits", base_labels())
    assert [(len(delta), delta.name) for delta in found.history.done] == [(0, "")]


def test_a_full_disk_leaves_the_file_whole_and_the_steps_noted(tmp_path, full_disk):
    path = tmp_path / "a.edits"
    editor = Editor(3, start(path))
    states, saved = [base_labels()], 0
    with pytest.raises(OutputError, match="cannot be saved"):
        for _ in range(1000):
            editor.step()
            states.append(editor.labels.copy())
            saved += editor.autosave.flush()
    assert editor.autosave.pending == 1
    found = recover(path, base_labels())
    assert (found.records, found.lost_bytes) == (saved, 0)
    np.testing.assert_array_equal(found.labels, states[saved])


def test_a_stroke_takes_less_than_a_byte_and_a_half_a_voxel(tmp_path):
    before = np.zeros((128, 128, 64), np.uint8)
    after = before.copy()
    after[30:60, 30:60, 10:30] = 1
    autosave = Autosave.start(tmp_path / "a.edits", before, case_id="case_1", reviewer="reader 1")
    autosave.edit(delta_between(before, after, name="box"))
    empty = autosave.path.stat().st_size
    autosave.flush()
    assert autosave.path.stat().st_size - empty < 1.5 * 30 * 30 * 20


def _edit_until_killed(path, seed, told) -> None:
    editor = Editor(seed, start(path))
    os.write(told, b"!")
    while True:
        for _ in range(int(editor.rng.integers(1, 4))):
            editor.step()
        os.write(told, bytes([editor.autosave.flush()]))


@pytest.mark.parametrize("seed", range(10))
def test_everything_that_was_synced_before_a_kill_is_recovered_exactly(tmp_path, seed):
    path = tmp_path / "a.edits"
    told, tell = os.pipe()
    child = multiprocessing.get_context("fork").Process(target=_edit_until_killed, args=(path, seed, tell))
    child.start()
    os.close(tell)
    assert os.read(told, 1) == b"!"
    time.sleep(random.uniform(0.02, 0.25))
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    synced = 0
    while chunk := os.read(told, 4096):
        synced += sum(chunk)
    os.close(told)
    found = recover(path, base_labels())
    assert synced > 0
    assert found.records >= synced
    expected = Editor(seed)
    taken = 0
    while taken < found.records:
        for _ in range(int(expected.rng.integers(1, 4))):
            if taken < found.records:
                expected.step()
                taken += 1
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert_same_history(found.history, expected.history)
