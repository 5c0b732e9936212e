"""The state of a case is what its journal leads to."""

import pytest

from medseg.record import Journal, JournalEntry
from medseg.review import CASE_STATES, review_of, review_states


def review(*steps):
    """The review of one case after steps such as ``"accept"`` or ``("flag", {"reason": "motion"})``."""
    entries = []
    for step in steps:
        action, changes = (step, {}) if isinstance(step, str) else step
        entries.append(JournalEntry(**({"reviewer": "reader 1", "case_id": "a", "action": action} | changes)))
    return review_of(entries, "a")


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        ((), "new"),
        (("imported",), "new"),
        (("open",), "in_review"),
        (("open", "accept"), "accepted"),
        (("open", "reject"), "rejected"),
        (("open", "second_reader"), "needs_second_reader"),
        (("open", "accept", "reject"), "rejected"),
        (("open", "second_reader", "open", "accept"), "accepted"),
        (("open", "accept", "open"), "accepted"),
        (("open", "accept", "reopen"), "in_review"),
        (("recovered",), "in_review"),
    ],
)
def test_the_last_decision_on_the_whole_case_wins(steps, state):
    assert review(*steps).state == state
    assert state in CASE_STATES
    assert review(*steps).is_decided == (state in ("accepted", "rejected"))


def test_a_decision_keeps_who_and_why_until_it_is_taken_back():
    decided = review("open", ("reject", {"reason": "wrong side", "reviewer": "reader 2"}))
    assert (decided.decision.reviewer, decided.decision.reason) == ("reader 2", "wrong side")
    assert decided.reviewers == ("reader 1", "reader 2")
    assert review("accept", "reopen").decision is None


def test_decisions_on_structures_leave_the_case_undecided():
    found = review(("accept", {"structure": "left"}), ("reject", {"structure": "right", "reason": "leaks"}))
    assert found.state == "in_review"
    assert {name: decision.state for name, decision in found.structures.items()} == {
        "left": "accepted",
        "right": "rejected",
    }
    taken_back = review(("accept", {"structure": "left"}), ("reopen", {"structure": "left"}))
    assert dict(taken_back.structures) == {}
    assert review("accept", ("reject", {"structure": "left"})).state == "accepted"


def test_flags_are_set_once_and_lifted_where_they_were_set():
    motion = ("flag", {"reason": "motion"})
    left = ("flag", {"reason": "motion", "structure": "left"})
    found = review(motion, left, motion, ("unflag", {"reason": "motion"}))
    assert [(flag.name, flag.structure) for flag in found.flags] == [("motion", "left")]
    assert review(motion, left).flag_names == ("motion",)


def test_comments_and_time_are_gathered_from_every_entry():
    found = review(
        ("open", {"seconds_spent": 2.5}),
        ("comment", {"comment": "first"}),
        ("accept", {"comment": "second", "structure": "left", "seconds_spent": 4}),
    )
    assert [(remark.text, remark.structure) for remark in found.remarks] == [("first", None), ("second", "left")]
    assert found.seconds_spent == 6.5


def test_cases_are_told_apart(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    for case_id, action in (("a", "open"), ("b", "open"), ("a", "accept"), ("b", "reject")):
        journal.append(JournalEntry(reviewer="reader 1", case_id=case_id, action=action))
    assert {name: case.state for name, case in review_states(journal.entries()).items()} == {
        "a": "accepted",
        "b": "rejected",
    }
    assert review_of(journal.entries(), "c").state == "new"
