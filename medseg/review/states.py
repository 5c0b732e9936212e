"""What the journal says of each case: its state, its structures, flags and comments.

In: the entries of a journal, in their order. Out: a ``CaseReview`` for each case. Nothing is kept anywhere else: the
state of a case is what its entries lead to, and the last decision on the whole case wins::

    nothing  → new                      reject         → rejected
    open     → in_review                second_reader  → needs_second_reader
    accept   → accepted                 reopen         → in_review

Opening a case that is decided changes nothing; ``reopen`` takes a decision back, on a case or on a structure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Literal, get_args

from medseg.record import JournalEntry

__all__ = ["CASE_STATES", "CaseReview", "CaseState", "Decision", "Flag", "Remark", "review_of", "review_states"]

CaseState = Literal["new", "in_review", "accepted", "rejected", "needs_second_reader"]

CASE_STATES: tuple[CaseState, ...] = get_args(CaseState)
"""Every state, in the order in which a case may pass through them."""

STATE_AFTER: Mapping[str, CaseState] = {
    "accept": "accepted",
    "reject": "rejected",
    "second_reader": "needs_second_reader",
    "reopen": "in_review",
}
"""The state that a decision leads to."""


@dataclass(frozen=True)
class Decision:
    """What somebody decided, and why."""

    state: CaseState
    reviewer: str
    time_utc: datetime
    reason: str = ""
    output_sha256: str | None = None


@dataclass(frozen=True)
class Flag:
    """A mark on a case, or on one structure of it."""

    name: str
    reviewer: str
    structure: str | None = None


@dataclass(frozen=True)
class Remark:
    """What somebody wrote, about a case or one structure of it."""

    text: str
    reviewer: str
    time_utc: datetime
    structure: str | None = None


@dataclass(frozen=True)
class CaseReview:
    """One case as its entries leave it.

    Attributes:
        case_id: the case.
        state: of the whole case.
        decision: the one that stands for the whole case; None where there is none, or it was taken back.
        structures: the decision that stands on each structure, by its name.
        flags: those that are set, in the order they were.
        remarks: every comment, the oldest first.
        reviewers: everybody with an entry, in the order of the first.
        seconds_spent: the sum of all that was noted.
    """

    case_id: str
    state: CaseState = "new"
    decision: Decision | None = None
    structures: Mapping[str, Decision] = field(default_factory=lambda: MappingProxyType({}))
    flags: tuple[Flag, ...] = ()
    remarks: tuple[Remark, ...] = ()
    reviewers: tuple[str, ...] = ()
    seconds_spent: float = 0.0

    @property
    def is_decided(self) -> bool:
        """Whether it is accepted or rejected; a case that waits for a second reader is not."""
        return self.state in ("accepted", "rejected")

    @property
    def flag_names(self) -> tuple[str, ...]:
        """The names of the flags, each once."""
        return tuple(dict.fromkeys(flag.name for flag in self.flags))


def review_states(entries: Iterable[JournalEntry]) -> dict[str, CaseReview]:
    """Every case that the journal names, by its case id."""
    found: dict[str, CaseReview] = {}
    for entry in entries:
        found[entry.case_id] = _after(found.get(entry.case_id) or CaseReview(entry.case_id), entry)
    return found


def review_of(entries: Iterable[JournalEntry], case_id: str) -> CaseReview:
    """One case; ``new`` where the journal does not name it."""
    own = (entry for entry in entries if entry.case_id == case_id)
    return review_states(own).get(case_id) or CaseReview(case_id)


def _after(review: CaseReview, entry: JournalEntry) -> CaseReview:
    """The case once one more entry is known."""
    review = replace(
        review,
        reviewers=tuple(dict.fromkeys((*review.reviewers, entry.reviewer))),
        seconds_spent=review.seconds_spent + (entry.seconds_spent or 0),
        remarks=review.remarks + _remarks(entry),
        flags=_flags_after(review.flags, entry),
    )
    if entry.action not in STATE_AFTER:
        opened = review.state == "new" and entry.action in ("open", "recovered", "take_over")
        return replace(review, state="in_review") if opened else review
    state = STATE_AFTER[entry.action]
    decision = Decision(state, entry.reviewer, entry.time_utc, entry.reason, entry.output_sha256)
    stands = None if entry.action == "reopen" else decision
    if entry.structure is None:
        return replace(review, state=state, decision=stands)
    others = {name: one for name, one in review.structures.items() if name != entry.structure}
    structures = MappingProxyType(others if stands is None else {**others, entry.structure: stands})
    return replace(review, structures=structures, state="in_review" if review.state == "new" else review.state)


def _remarks(entry: JournalEntry) -> tuple[Remark, ...]:
    return (Remark(entry.comment, entry.reviewer, entry.time_utc, entry.structure),) if entry.comment else ()


def _flags_after(flags: tuple[Flag, ...], entry: JournalEntry) -> tuple[Flag, ...]:
    if entry.action not in ("flag", "unflag"):
        return flags
    others = tuple(flag for flag in flags if (flag.name, flag.structure) != (entry.reason, entry.structure))
    return others if entry.action == "unflag" else (*others, Flag(entry.reason, entry.reviewer, entry.structure))
