"""Decisions on labels in the one journal of a folder of studies: made in napari, or by clients of the server.

In: the journal that a review of the same folder keeps (``review/journal.jsonl``). Out: which image's label counts as
accepted, and where its file lies; and entries for what clients of the server decide.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medseg.bundle import sha256_of
from medseg.record import ACTION_OF_TAG, Journal, JournalAction, JournalEntry

__all__ = ["Decision", "ReviewJournal"]

JOURNAL = Path("review") / "journal.jsonl"
VERSIONS = Path("review") / "versions"
"""Where a review of a folder of scans keeps its journal and the labels that were accepted."""

DECIDING: tuple[JournalAction, ...] = ("accept", "reject", "second_reader", "reopen")
CLIENT = "MONAI Label client"


@dataclass(frozen=True)
class Decision:
    """The last decision on a case; ``labels`` is the accepted file, None where there is none any more."""

    action: JournalAction
    labels: Path | None


class ReviewJournal:
    """The journal of a folder of studies.

    Args:
        studies: the folder.
    """

    def __init__(self, studies: Path) -> None:
        self._studies = studies
        self._journal = Journal(studies / JOURNAL)
        self._seen: tuple[int, int] | None = None

    def note(self, image_id: str, tag: str, *, labels: Path, client: str = "") -> None:
        """Enter what a client decided by saving a label with a tag; tags that decide nothing are not noted.

        Raises:
            MedsegError: the journal is damaged or cannot be written.
        """
        if tag in ACTION_OF_TAG:
            self._append(image_id, ACTION_OF_TAG[tag], client, sha256_of(labels))

    def note_reopened(self, image_id: str, *, client: str = "") -> None:
        """Enter that an accepted label was removed.

        Raises:
            MedsegError: the journal is damaged or cannot be written.
        """
        self._append(image_id, "reopen", client, None)

    def news(self) -> Mapping[str, Decision]:
        """The last decision on every case, if the journal has changed since this was asked; else nothing.

        Raises:
            DataError: the journal is damaged.
        """
        path = self._journal.path
        state = (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None
        if state is None or state == self._seen:
            return {}
        last = {
            entry.case_id: entry
            for entry in self._journal.entries()
            if entry.structure is None and entry.action in DECIDING
        }
        self._seen = state
        files = {sha256_of(one): one for one in sorted((self._studies / VERSIONS).glob("*/v*")) if _is_image(one)}
        return {
            case_id: Decision(entry.action, files.get(entry.output_sha256 or "")) for case_id, entry in last.items()
        }

    def _append(self, image_id: str, action: JournalAction, client: str, sha256: str | None) -> None:
        reviewer = f"{CLIENT} {client}".strip()[:256]
        self._journal.append(JournalEntry(reviewer=reviewer, case_id=image_id, action=action, output_sha256=sha256))


def _is_image(path: Path) -> bool:
    return path.is_file() and path.name.endswith((".nii.gz", ".nii", ".nrrd", ".mha"))
