"""Where a review keeps its files, and the names of the folders of its cases.

<worklist folder>/review/
  journal.jsonl, journal.head   who decided what
  locks/<case>.lock             who works on a case now
  autosave/<case>.edits         edits that are not accepted yet
  versions/<case>/v0001.nii.gz  accepted labels, v0001.json beside
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import OutputError

__all__ = ["REVIEW_FOLDER", "ReviewFolder", "folder_name"]

REVIEW_FOLDER = "review"
"""What the folder is called inside the folder of the scans."""

PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Case ids that are taken as they are; what lies beyond may mean something to a file system."""

RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names that Windows keeps for its devices."""


@dataclass(frozen=True)
class ReviewFolder:
    """The paths of one review; nothing is made before ``create`` is called."""

    path: Path

    @classmethod
    def of(cls, worklist_folder: Path) -> "ReviewFolder":
        """The review inside a folder of scans."""
        return cls(worklist_folder / REVIEW_FOLDER)

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.path / "journal.jsonl"

    @property
    def locks(self) -> Path:
        """The folder of the locks."""
        return self.path / "locks"

    @property
    def autosaves(self) -> Path:
        """The folder of the edits that are not accepted yet."""
        return self.path / "autosave"

    @property
    def versions(self) -> Path:
        """The folder of the accepted labels."""
        return self.path / "versions"

    def lock_of(self, case_id: str) -> Path:
        """The lock of one case."""
        return self.locks / f"{folder_name(case_id)}.lock"

    def autosave_of(self, case_id: str) -> Path:
        """The edits of one case that are not accepted yet."""
        return self.autosaves / f"{folder_name(case_id)}.edits"

    def versions_of(self, case_id: str) -> Path:
        """The folder of one case's accepted labels."""
        return self.versions / folder_name(case_id)

    def create(self) -> None:
        """Make the folders that are absent.

        Raises:
            OutputError: a folder cannot be made.
        """
        try:
            for folder in (self.path, self.locks, self.autosaves, self.versions):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"the review folder {self.path} cannot be made ({error.strerror}): choose another place for it."
            ) from error


def folder_name(case_id: str) -> str:
    """A name for the folder of a case that means nothing else to any file system, and another for each case.

    Plain ids stay as they are; others lose what is not plain and get ``~`` and a part of their hash, so that
    ``a/b`` and ``a_b`` remain two.
    """
    if PLAIN_NAME.fullmatch(case_id) and not RESERVED.fullmatch(case_id) and not case_id.endswith("."):
        return case_id
    plain = re.sub(r"[^A-Za-z0-9-]+", "_", case_id)[:60].strip("_")
    return f"{plain or 'case'}~{hashlib.sha256(case_id.encode(errors='surrogatepass')).hexdigest()[:16]}"
