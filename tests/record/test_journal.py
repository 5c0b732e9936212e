"""The journal: every changed byte is found, and no decision is lost or written twice."""

import errno
import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from medseg.errors import DataError, OutputError, SettingsError
from medseg.record import Journal, JournalEntry, UsedBundle, verify_journal


def entry(number: int = 0, **changes) -> JournalEntry:
    return JournalEntry(**({"reviewer": "reader 1", "case_id": f"case_{number}", "action": "open"} | changes))


@pytest.fixture
def journal(tmp_path) -> Journal:
    journal = Journal(tmp_path / "review" / "journal.jsonl")
    bundle = UsedBundle(name="tiny", version="0.1.0", weights_sha256="ab" * 32)
    journal.append(entry(0, bundle=bundle))
    journal.append(entry(0, action="flag", reason="motion", structure="left"))
    journal.append(entry(0, action="accept", voxels_changed={"left": 3}, seconds_spent=12.5, output_sha256="0f" * 32))
    return journal


def test_entries_come_back_as_they_were_written(journal):
    records = journal.records()
    assert [record.number for record in records] == [1, 2, 3]
    assert [record.entry.action for record in records] == ["open", "flag", "accept"]
    assert records[1].previous_sha256 == records[0].sha256
    assert journal.entries()[2].voxels_changed == {"left": 3}
    assert verify_journal(journal.path) == []


def test_an_append_returns_the_line_as_it_stands_in_the_file(journal):
    record = journal.append(entry(7, comment="  lésion\u2028\U0001f9e0  ", action="comment"))
    assert journal.records()[-1] == record
    assert record.entry.comment == "lésion\u2028\U0001f9e0"
    assert len(journal.path.read_text("utf-8").splitlines()) == 4


@pytest.mark.parametrize("pattern", [0x01, 0x20])
def test_every_changed_byte_is_found(journal, pattern):
    for path in (journal.path, journal.head_path):
        whole = path.read_bytes()
        for place in range(len(whole)):
            damaged = bytearray(whole)
            damaged[place] ^= pattern
            path.write_bytes(bytes(damaged))
            assert verify_journal(journal.path), f"byte {place} of {path.name}"
        path.write_bytes(whole)
    assert verify_journal(journal.path) == []


def test_every_byte_too_many_or_too_few_is_found(journal):
    whole = journal.path.read_bytes()
    for place in range(len(whole)):
        journal.path.write_bytes(whole[:place] + whole[place + 1 :])
        assert verify_journal(journal.path), place
    for place in range(len(whole) + 1):
        journal.path.write_bytes(whole[:place] + b" " + whole[place:])
        assert verify_journal(journal.path), place


def test_damage_is_named_by_its_line(journal):
    lines = journal.path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b"motion", b"notion")
    journal.path.write_bytes(b"".join(lines))
    assert [problem.line for problem in verify_journal(journal.path)] == [2]


def test_a_damaged_head_does_not_hide_a_damaged_line(journal):
    journal.path.write_bytes(journal.path.read_bytes().replace(b"motion", b"notion"))
    journal.head_path.write_bytes(b"{}")
    assert [problem.line for problem in verify_journal(journal.path)] == [0, 2]


def test_lines_with_other_line_ends_or_key_order_are_found(journal):
    whole = journal.path.read_bytes()
    journal.path.write_bytes(whole.replace(b"\n", b"\r\n"))
    assert {problem.line for problem in verify_journal(journal.path)} >= {1, 2, 3}
    lines = whole.splitlines()
    journal.path.write_bytes(b"\n".join(json.dumps(json.loads(line)).encode() for line in lines) + b"\n")
    assert {problem.line for problem in verify_journal(journal.path)} >= {1, 2, 3}


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_lines_taken_from_the_end_are_missed(journal, kept):
    lines = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(b"".join(lines[:kept]))
    assert any("missing" in problem.found for problem in verify_journal(journal.path))
    with pytest.raises(DataError, match="medseg journal verify"):
        journal.append(entry())
    with pytest.raises(DataError, match="unbroken chain"):
        journal.records()


def test_a_line_taken_from_the_middle_or_two_swapped_are_found(journal):
    first, second, third = journal.path.read_bytes().splitlines(keepends=True)
    for lines in ((first, third), (second, first, third), (first, first, second, third), (first, third, second)):
        journal.path.write_bytes(b"".join(lines))
        assert verify_journal(journal.path)


def test_a_journal_without_its_head_is_refused(journal):
    journal.head_path.unlink()
    assert verify_journal(journal.path)
    with pytest.raises(DataError, match=r"journal\.head is absent"):
        journal.append(entry())


def test_a_journal_that_is_gone_while_its_head_is_there_is_found(journal):
    journal.path.unlink()
    assert verify_journal(journal.path)


def test_there_is_no_journal_to_verify_in_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match="no journal"):
        verify_journal(tmp_path / "journal.jsonl")
    assert Journal(tmp_path / "journal.jsonl").entries() == ()


def test_a_half_written_last_line_is_moved_aside_wherever_it_was_cut(journal):
    whole, head = journal.path.read_bytes(), journal.head_path.read_bytes()
    journal.append(entry(3))
    line = journal.path.read_bytes()[len(whole) :]
    for cut in range(1, len(line)):
        journal.path.write_bytes(whole + line[:cut])
        journal.head_path.write_bytes(head)
        assert [problem.is_torn_end for problem in verify_journal(journal.path)] == [True]
        assert len(journal.records()) == 3
    journal.append(entry(4))
    assert [one.case_id for one in journal.entries()] == ["case_0"] * 3 + ["case_4"]
    assert verify_journal(journal.path) == []
    (aside,) = journal.path.parent.glob("journal.torn-*")
    assert aside.read_bytes() == line[:-1]


def test_a_line_of_zeros_as_a_power_cut_leaves_it_is_moved_aside(journal):
    with journal.path.open("ab") as file:
        file.write(b"\0" * 100)
    journal.append(entry(4))
    assert verify_journal(journal.path) == []
    assert len(list(journal.path.parent.glob("journal.torn-*"))) == 1


def test_a_whole_line_whose_head_was_not_written_any_more_counts(journal):
    head = journal.head_path.read_bytes()
    journal.append(entry(3))
    journal.head_path.write_bytes(head)
    assert verify_journal(journal.path) == []
    journal.append(entry(4))
    assert [one.case_id for one in journal.entries()[-2:]] == ["case_3", "case_4"]


def test_two_lines_beyond_the_head_are_found_and_nothing_is_appended(journal):
    head = journal.head_path.read_bytes()
    journal.append(entry(3))
    journal.append(entry(4))
    journal.head_path.write_bytes(head)
    assert verify_journal(journal.path)
    with pytest.raises(DataError, match="does not count"):
        journal.append(entry(5))


def _append_many(path: Path, name: str, count: int) -> None:
    for number in range(count):
        Journal(path).append(entry(number, reviewer=name))


def test_processes_that_append_at_once_leave_one_chain_with_every_entry(tmp_path):
    path = tmp_path / "journal.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append_many, args=(path, f"reader {n}", 25)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert verify_journal(path) == []
    entries = Journal(path).entries()
    for n in range(4):
        assert [one.case_id for one in entries if one.reviewer == f"reader {n}"] == [f"case_{k}" for k in range(25)]


def _append_and_tell(path: Path, told: int) -> None:
    for number in range(10_000):
        Journal(path).append(entry(number))
        os.write(told, b".")


def test_what_was_appended_before_a_kill_is_there(tmp_path):
    path = tmp_path / "journal.jsonl"
    appended = 0
    for _ in range(5):
        told, tell = os.pipe()
        writer = multiprocessing.get_context("fork").Process(target=_append_and_tell, args=(path, tell))
        writer.start()
        for _ in range(8):
            appended += len(os.read(told, 1))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        os.close(tell)
        appended += len(os.read(told, 10_000))
        os.close(told)
        assert len(Journal(path).records()) >= appended
        Journal(path).append(entry())
        appended += 1
        assert verify_journal(path) == []


def test_a_full_disk_leaves_the_journal_whole(journal, full_disk):
    with pytest.raises(Exception, match="cannot be written"):
        for _ in range(200):
            journal.append(entry(comment="x" * 500))
    assert verify_journal(journal.path) == []


def test_an_entry_that_was_refused_because_the_head_does_not_fit_on_the_disk_does_not_stand(journal, monkeypatch):
    before = journal.records()

    def is_full(self: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(Path, "replace", is_full)
        with pytest.raises(OutputError, match="disk is full"):
            journal.append(entry(action="accept"))
    assert journal.records() == before
    assert verify_journal(journal.path) == []
    journal.append(entry(action="reject"))
    assert [record.entry.action for record in journal.records()[len(before) :]] == ["reject"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"reviewer": "  "}, "reviewer"),
        ({"case_id": ""}, "case_id"),
        ({"action": "maybe"}, "action"),
        ({"action": "flag"}, "needs a reason"),
        ({"action": "comment"}, "needs a comment"),
        ({"output_sha256": "xyz"}, "output_sha256"),
        ({"voxels_changed": {"left": -1}}, "voxels_changed"),
        ({"patient": "somebody"}, "patient"),
    ],
)
def test_an_entry_that_says_too_little_or_too_much_is_refused(changes, told):
    values = {"reviewer": "reader 1", "case_id": "case", "action": "open"} | changes
    with pytest.raises(SettingsError, match=told):
        JournalEntry.from_mapping(values, source="entry")
