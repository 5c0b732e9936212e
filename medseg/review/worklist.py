"""The cases that are to be reviewed, in the order in which that is worth most.

In: a folder of scans, or a data manifest and the folder of its data. Out: a ``Worklist``: each case with its scan,
its segmentation where there is one, and what the journal says of it; the least certain first.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from medseg.errors import CaseError
from medseg.io import CaseFiles, FailedCase
from medseg.labels import LabelTable
from medseg.record import Journal, JournalEntry, UsedBundle
from medseg.review.background import Report
from medseg.review.edits import NestedRegions
from medseg.review.folder import ReviewFolder
from medseg.review.states import CaseReview, CaseState, review_states
from medseg.review.versions import Version

__all__ = ["CaseOrigin", "Progress", "Worklist", "WorklistCase", "natural_order"]


@dataclass(frozen=True)
class Progress:
    """How far a review has come: cases accepted or rejected, of all."""

    decided: int
    total: int

    def __str__(self) -> str:
        return f"{self.decided} of {self.total}"


@dataclass(frozen=True)
class WorklistCase:
    """One case to review.

    Attributes:
        files: its scan, one file for each channel.
        review: what the journal says of it.
        segmentation: the label file to begin with; None where there is none yet.
        quality: from 0, worst, to 1; None where nothing is known of it.
        bundle: the model that made the segmentation, where its run record tells.
    """

    files: CaseFiles
    review: CaseReview
    segmentation: Path | None = None
    quality: float | None = None
    bundle: UsedBundle | None = None

    @property
    def case_id(self) -> str:
        """What the case is called, everywhere."""
        return self.files.case_id

    @property
    def state(self) -> CaseState:
        """Where its review stands."""
        return self.review.state

    @property
    def flags(self) -> tuple[str, ...]:
        """The names of its flags."""
        return self.review.flag_names


class CaseOrigin(Protocol):
    """A place elsewhere from which cases come and to which accepted labels go."""

    def fetched(self, case: WorklistCase, *, report: Report | None = None) -> WorklistCase:
        """The case with its files on this disk; ``report`` is told how many bytes have come.

        Raises:
            MedsegError: they cannot be had.
        """

    def send(self, case_id: str, version: Version) -> None:
        """Hand accepted labels over.

        Raises:
            MedsegError: they were not taken; the version stays on this disk.
        """


@dataclass(frozen=True)
class Worklist:
    """Cases in the order of review, and the folder where their review is kept.

    Attributes:
        folder: journal, locks, edits and versions.
        cases: those with a quality first, the worst of them first; then the rest by case id.
        failed: what was found and is no case that can be opened, and why.
        label_table: what the values of the segmentations mean, where the data set tells.
        origin: where the cases come from and go to, if that is not this disk.
        regions: which of them lie in one another, where the data set tells.
    """

    folder: ReviewFolder
    cases: tuple[WorklistCase, ...]
    failed: tuple[FailedCase, ...] = ()
    label_table: LabelTable | None = None
    origin: CaseOrigin | None = None
    regions: NestedRegions | None = None

    @property
    def progress(self) -> Progress:
        """How many cases are decided."""
        return Progress(sum(case.review.is_decided for case in self.cases), len(self.cases))

    @property
    def flag_names(self) -> tuple[str, ...]:
        """Every flag that is set on a case, sorted."""
        return tuple(sorted({flag for case in self.cases for flag in case.flags}))

    def case(self, case_id: str) -> WorklistCase:
        """The case of that name.

        Raises:
            CaseError: there is none.
        """
        found = next((case for case in self.cases if case.case_id == case_id), None)
        if found is None:
            raise CaseError(f"the worklist has no case {case_id!r}: one of its {len(self.cases)} cases was expected.")
        return found

    def refreshed(self) -> "Worklist":
        """The same cases with what the journal says now.

        Raises:
            DataError: the journal is damaged.
        """
        return self.after(Journal(self.folder.journal).entries())

    def after(self, entries: Iterable[JournalEntry]) -> "Worklist":
        """The same cases with what these entries say, all of the journal's."""
        reviews = review_states(entries)
        cases = (replace(case, review=reviews.get(case.case_id) or case.review) for case in self.cases)
        return replace(self, cases=tuple(cases))

    def filtered(
        self,
        *,
        states: Collection[CaseState] = (),
        flag: str | None = None,
        quality_below: float | None = None,
        text: str = "",
    ) -> tuple[WorklistCase, ...]:
        """The cases for which everything that is asked holds, in the order of the list.

        Args:
            states: one of these; empty: any.
            flag: has this one.
            quality_below: is known to be worse than this.
            text: stands in the case id, the model's name, a flag or a comment, whatever the case of its letters.
        """
        return tuple(
            case
            for case in self.cases
            if (not states or case.state in states)
            and (flag is None or flag in case.flags)
            and (quality_below is None or (case.quality is not None and case.quality < quality_below))
            and _says(case, text)
        )

    def next_unreviewed(self, *, after: str | None = None) -> WorklistCase | None:
        """The next case that is new or in review, from ``after`` on and round the end; None where none is left.

        ``after`` itself is not offered again; a case that waits for a second reader is looked for with ``filtered``.
        """
        start = 0 if after is None else self.cases.index(self.case(after)) + 1
        circle = (*self.cases[start:], *self.cases[: max(start - 1, 0)])
        return next((case for case in circle if case.state in ("new", "in_review")), None)


def natural_order(case_id: str) -> tuple[tuple[int, int, str], ...]:
    """A key that sorts ``case_2`` before ``case_10``."""
    parts: Sequence[str] = re.split(r"(\d+)", case_id.casefold())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part)


def _says(case: WorklistCase, text: str) -> bool:
    own = (case.case_id, case.bundle.name if case.bundle else "", *case.flags)
    remarks = (remark.text for remark in case.review.remarks)
    return any(text.casefold() in said.casefold() for said in (*own, *remarks))
