"""One case, opened by one person: read, corrected, decided, and safe at every moment. No Qt, no napari.

In: the files of a case and who reviews it. Out: an editor of its labels, entries in the journal, and, once accepted,
a new version of the labels on the scan's own grid::

    open ─→ lock ─→ scan + labels ─→ (recover what a crash left) ─→ edits, saved every few seconds
                                                                      │
             accept ─→ new version ─→ journal          reject, flag, comment, second reader ─→ journal
                                                                      │
                                                              close ─→ unlock
"""

import time
from dataclasses import replace
from typing import Any

from medseg.errors import DataError, GeometryError, ReviewError
from medseg.io import Scan
from medseg.record import Journal, JournalAction, JournalEntry, WorkLock
from medseg.review.autosave import recover
from medseg.review.editor import LabelEditor
from medseg.review.folder import ReviewFolder
from medseg.review.label_names import completed_table
from medseg.review.meaning import LabelMeaning
from medseg.review.opening import CaseToReview, OpenedCase, lost_version, read_opened
from medseg.review.saving import EditSaver
from medseg.review.segmenting import Proposal
from medseg.review.states import CaseReview, review_of
from medseg.review.strokes import StrokeRules
from medseg.review.versions import Origin, Version, save_version

__all__ = ["ReviewSession"]


class ReviewSession:
    """One case under review. Mutable: made by ``open``, ended by ``close``.

    Attributes:
        case: what was opened.
        scan: its image (C, I, J, K) on its own grid.
        editor: its labels.
        notes: what the person should know of the opening: edits that came back, a lock that was taken over.
    """

    def __init__(self, opened: OpenedCase, *, folder: ReviewFolder, reviewer: str, lock: WorkLock) -> None:
        self.case, self.folder, self.reviewer = opened.case, folder, reviewer
        self.scan: Scan = opened.scan
        self.editor = LabelEditor.of(opened.segmentation)
        self.editor.rules = StrokeRules(regions=opened.case.regions)
        self.notes: tuple[str, ...] = opened.scan.warnings
        self._base_sha256 = opened.sha256
        self._lock = lock
        self._journal = Journal(folder.journal)
        self._saver = EditSaver(self.editor, folder.autosave_of(self.case_id), case_id=self.case_id, reviewer=reviewer)
        self._since_s = time.monotonic()
        self._is_open = True

    @classmethod
    def open(
        cls, case: CaseToReview, *, folder: ReviewFolder, reviewer: str, take_own_lock: bool = False
    ) -> "ReviewSession":
        """Lock, read and, where a session broke off, recover.

        Args:
            case: what to open.
            folder: where the review keeps its files; made where it is absent.
            reviewer: the person's name, which every entry of the journal bears.
            take_own_lock: take a lock of the same reviewer's, whose session is known to have ended.
        Raises:
            ReviewError: no reviewer is named.
            LockedError: somebody else has the case open.
            MedsegError: scan or labels cannot be read, or do not lie on one grid.
        """
        _require_name(reviewer)
        folder.create()
        path = folder.lock_of(case.case_id)
        acquire = WorkLock.acquire_own if take_own_lock else WorkLock.acquire
        lock = acquire(path, owner=reviewer.strip())
        try:
            session = cls(read_opened(case, folder), folder=folder, reviewer=reviewer.strip(), lock=lock)
            session._begin()
        except BaseException:
            lock.release()
            raise
        return session

    @property
    def case_id(self) -> str:
        """The case's name in the journal."""
        return self.case.case_id

    @property
    def entries(self) -> tuple[JournalEntry, ...]:
        """What the journal holds of the case, the oldest first."""
        return tuple(entry for entry in self._journal.entries() if entry.case_id == self.case_id)

    @property
    def review(self) -> CaseReview:
        """What the journal says of the case."""
        return review_of(self._journal.entries(), self.case_id)

    @property
    def has_unaccepted_edits(self) -> bool:
        """Whether there are edits that no accepted version holds."""
        return self._saver.has_edits

    def hand_over(self, reviewer: str) -> None:
        """Let another person go on: lock and entries bear their name from now on; nothing, where they do already.

        Raises:
            ReviewError: no reviewer is named.
            LockedError: another session has taken the case.
        """
        _require_name(reviewer)
        if reviewer.strip() != self.reviewer:
            self._lock = self._lock.handed_to(reviewer.strip())
            self.reviewer = reviewer.strip()
            self._write("open")

    def save(self) -> int:
        """Put the edits since the last call on the disk, and show others that the case is open; how many edits.

        Raises:
            OutputError: they cannot be written; they wait for the next call.
            LockedError: another session has taken the case; the edits stay in this one, since the file is now its.
        """
        saved = 0 if self._lock.is_taken else self._saver.save()
        self._lock.renew()
        return saved

    def take_proposal(self, proposal: Proposal) -> None:
        """Put a model's labels in the place of those that are there, as one edit, and name the model from now on.

        Raises:
            ReviewError: labels are there that mean something else than the model's.
            GeometryError: the model's labels lie on another grid.
        """
        if not proposal.segmentation.geometry.matches(self.scan.geometry):
            raise GeometryError("the segmentation lies on another grid than the scan: segment this scan again.")
        table = proposal.segmentation.label_table
        if not self.editor.label_table.means_the_same_as(table) and self.editor.labels.any():
            raise ReviewError(
                f"the labels of this case are {', '.join(self.editor.label_table.names)}, those of "
                f"{proposal.model} {', '.join(table.names)}: choose a model of the same labels."
            )
        meaning = LabelMeaning(label_table=table, regions=proposal.regions, bundle=proposal.bundle)
        self._saver.mean(meaning)  # before the labels: were they saved alone, nobody could tell what they are
        self._take_meaning(meaning)
        self.editor.propose(f"segment with {proposal.model}", proposal.segmentation.labels)

    def accept(self, *, comment: str = "") -> Version:
        """Keep the labels as they are now as a new version, and say so in the journal.

        Raises:
            MedsegError: the version or the entry cannot be written; the edits stay saved as edits.
        """
        self._entry("accept", comment=comment)  # what the journal refuses is refused before a version is written
        self._lock.renew()
        self._saver.save()
        self.editor.label_table = completed_table(self.editor.label_table, self.editor.labels)  # no value unnamed
        segmentation, changed = self.editor.segmentation(), dict(self.editor.voxels_changed())
        origin = Origin(
            reviewer=self.reviewer,
            input_sha256=self.scan.sha256,
            base_sha256=self._base_sha256,
            bundle=self.case.bundle,
            regions=self.case.regions,
            voxels_changed=changed,
            edits=len(self.editor.history.done),
        )
        version = save_version(self.folder, segmentation, case_id=self.case_id, origin=origin)
        self._write("accept", comment=comment, output_sha256=version.record.labels_sha256, voxels_changed=changed)
        self._saver.rebase()
        return version

    def accept_structure(self, name: str, *, comment: str = "") -> None:
        """Say that one structure is right; the labels become a version when the case is accepted.

        Raises:
            ReviewError: there is no such structure.
        """
        self._write("accept", structure=self._known(name), comment=comment)

    def reject(self, reason: str, *, structure: str | None = None) -> None:
        """Say that the labels, or one structure of them, are of no use, and why; the edits stay.

        Raises:
            ReviewError: no reason is given, or there is no such structure.
        """
        if not reason.strip():
            raise ReviewError("a rejection needs a reason: say what is wrong with the labels.")
        self._write("reject", structure=self._known(structure), reason=reason)

    def ask_second_reader(self, reason: str = "") -> None:
        """Leave the decision to somebody else."""
        self._write("second_reader", reason=reason)

    def reopen(self, reason: str = "") -> None:
        """Take the decision back."""
        self._write("reopen", reason=reason)

    def flag(self, name: str, *, structure: str | None = None, is_set: bool = True) -> None:
        """Set or lift a mark, such as ``motion``, on the case or on one structure.

        Raises:
            ReviewError: the flag has no name, or there is no such structure.
        """
        if not name.strip():
            raise ReviewError("a flag needs a name, such as motion or artefact.")
        self._write("flag" if is_set else "unflag", structure=self._known(structure), reason=name)

    def comment(self, text: str, *, structure: str | None = None) -> None:
        """Write something down, about the case or one structure.

        Raises:
            ReviewError: the text is empty, or there is no such structure.
        """
        if not text.strip():
            raise ReviewError("the comment is empty: write something, or leave it.")
        self._write("comment", structure=self._known(structure), comment=text)

    def close(self, *, keep_edits: bool = True) -> None:
        """Give the case free; edits that were not accepted are kept for the next opening, unless they are given up.

        Raises:
            MedsegError: the edits cannot be written, or another session has taken the case; it stays open.
        """
        if not self._is_open:
            return
        if self._lock.is_taken:  # what lies on the disk is the other session's
            if keep_edits and not self._saver.is_saved:
                self._lock.renew()
        elif keep_edits:
            self._saver.save()
        else:
            self._saver.discard()
        self._lock.release()
        self._is_open = False

    def _begin(self) -> None:
        """Enter the opening in the journal, and bring back what a broken session left."""
        if self._lock.taken_from is not None:
            taken = self._lock.taken_from
            self.notes += (f"the case was left open by {taken.owner}; its lock was taken over.",)
            self._write("take_over", reason=f"lock of {taken.owner}")
        self._write("open")
        self.notes += lost_version(self.folder, self.review)
        path = self._saver.path
        if not path.exists():
            return
        try:
            recovered = recover(path, self.editor.opened)
        except DataError as error:
            aside = path.with_name(f"{path.name}.{time.time_ns()}.unused")
            path.rename(aside)  # never thrown away: somebody's work is in it
            self.notes += (f"saved edits could not be used and were moved to {aside.name}: {error}",)
            return
        self._saver.resume(recovered)
        if recovered.meaning is not None:
            self._take_meaning(recovered.meaning)
        self.notes += (f"edits of {recovered.header.reviewer} that were not accepted came back: {recovered.summary}",)
        self._write("recovered", comment=recovered.summary)

    def _take_meaning(self, meaning: LabelMeaning) -> None:
        table, regions = meaning.label_table, meaning.regions
        self.case = replace(self.case, label_table=table, regions=regions, bundle=meaning.bundle)
        self.editor.label_table, self.editor.rules = table, replace(self.editor.rules, regions=regions)

    def _known(self, structure: str | None) -> str | None:
        if structure is not None and structure not in self.case.label_table.names:
            raise ReviewError(
                f"no structure {structure!r} here: expected one of {', '.join(self.case.label_table.names)}."
            )
        return structure

    def _write(self, action: JournalAction, **facts: Any) -> None:
        self._journal.append(self._entry(action, **facts))
        self._since_s = time.monotonic()

    def _entry(self, action: JournalAction, **facts: Any) -> JournalEntry:
        """The entry to write.

        Raises:
            SettingsError: the case's name, the reviewer's or a text is more than a journal holds.
        """
        own = {
            "reviewer": self.reviewer,
            "case_id": self.case_id,
            "action": action,
            "bundle": self.case.bundle,
            "input_sha256": self.scan.sha256,
            "seconds_spent": round(time.monotonic() - self._since_s, 1),
        }
        return JournalEntry.from_mapping({**own, **facts}, source="the journal's entry")


def _require_name(reviewer: str) -> None:
    if not reviewer.strip():
        raise ReviewError("no reviewer is named: enter your name in the settings before you open a case.")
