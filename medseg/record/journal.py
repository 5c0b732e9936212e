"""The journal of a review: who decided what on which case, line by line, never changed.

In: one ``JournalEntry`` for each thing a person did. Out: a JSONL file whose lines are chained by their hashes, and
beside it a small head that states how far the journal had come::

    journal.jsonl  {"entry":{…},"number":1,"previous_sha256":"00…","sha256":"5b…"}
                   {"entry":{…},"number":2,"previous_sha256":"5b…","sha256":"e1…"}
    journal.head   {"count":2,"sha256":"e1…","size":1204}

The chain finds damage and edits by hand. Who may write the folder can also write a new chain: to rule that out,
keep the head's hash elsewhere. Entries name a case by its case id and nothing else of the patient.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self, cast

from filelock import FileLock, Timeout
from pydantic import Field, StringConstraints, model_validator

from medseg.atomic import atomic_write, flush_folder
from medseg.errors import DataError, MedsegError, OutputError
from medseg.record.journal_chain import (
    JournalHead,
    JournalProblem,
    Link,
    canonical,
    chained,
    check_chain,
    end_problem,
    link_of,
    read_head,
)
from medseg.record.run_record import Seconds, Sha256, UsedBundle, Utc
from medseg.settings import Settings

__all__ = ["Journal", "JournalAction", "JournalEntry", "JournalRecord", "verify_journal"]

log = logging.getLogger(__name__)

LOCK_WAIT_S = 30.0
"""An append takes milliseconds: who waits longer than this waits for a process that hangs."""

READS = 10
"""Attempts to read journal and head without an append between the two."""

JournalAction = Literal[
    "open",
    "accept",
    "reject",
    "reopen",
    "second_reader",
    "flag",
    "unflag",
    "comment",
    "imported",
    "take_over",
    "recovered",
]
"""What a person did with a case, or with one structure of it.

``imported``: the labels came from elsewhere; ``take_over``: the lock of another session that had gone silent was
taken; ``recovered``: edits of a session that broke off were brought back.
"""

Written = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256)]
CaseId = Annotated[str, StringConstraints(min_length=1, max_length=256)]
"""As it is, with the spaces that a file's name may begin or end with: what is called otherwise is another case."""

Text = Annotated[str, StringConstraints(strip_whitespace=True, max_length=10_000)]


class JournalEntry(Settings):
    """One thing that a person did in a review.

    ``structure`` is a label's name, None for the whole case. ``reason`` is short, and names the flag where one is
    set or lifted; ``comment`` is free text. ``output_sha256`` is the hash of the label file that was written, and
    ``voxels_changed`` counts, for each label, the voxels that joined or left it.
    """

    schema_version: Literal[1] = 1
    time_utc: Utc = Field(default_factory=lambda: datetime.now(UTC))
    reviewer: Written
    case_id: CaseId
    action: JournalAction
    structure: Written | None = None
    reason: Text = ""
    comment: Text = ""
    bundle: UsedBundle | None = None
    input_sha256: Sha256 | None = None
    output_sha256: Sha256 | None = None
    voxels_changed: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    seconds_spent: Seconds | None = None

    @model_validator(mode="after")
    def _says_what_the_action_needs(self) -> Self:
        if self.action in ("flag", "unflag") and not self.reason:
            raise ValueError(f"action {self.action!r} needs a reason: the name of the flag")
        if self.action == "comment" and not self.comment:
            raise ValueError("action 'comment' needs a comment")
        return self


class JournalRecord(Settings):
    """One line of the journal: the entry, its number from 1, its hash and that of the line before."""

    number: int = Field(ge=1)
    previous_sha256: Sha256
    sha256: Sha256
    entry: JournalEntry


class Journal:
    """The journal in one file; several processes may append to it.

    A line that a crash left half-written was never counted by the head. The next append moves it aside, into
    ``journal.torn-…`` in the same folder, and goes on; anything else that does not fit is refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def head_path(self) -> Path:
        """The file that states how far the journal had come."""
        return _head_path(self.path)

    def append(self, entry: JournalEntry) -> JournalRecord:
        """Write one entry to the end; when this returns, it is on the disk.

        Raises:
            DataError: the end of the journal is damaged, or lines of it are missing.
            OutputError: it cannot be written, or another process holds it and does not let go.
        """
        with self._alone():
            head = self._settled_head()
            link = chained(_plain(entry), head)
            self._write_line(link, head)
            return JournalRecord.from_mapping(link.values, source=self.path.name)

    def records(self) -> tuple[JournalRecord, ...]:
        """Every line, the oldest first; none where there is no journal yet.

        A line that is half-written, by a crash or at this moment, does not count yet.

        Raises:
            DataError: the journal is damaged; ``verify_journal`` lists where.
        """
        content, head = _read(self.path)
        found = check_chain(content, head)
        wrong = [problem for problem in found.problems if not problem.is_torn_end]
        if wrong:
            raise DataError(
                f"{self.path.name} is damaged, {wrong[0]} ({len(wrong)} in all): an unbroken chain was expected. "
                "Run `medseg journal verify` and bring the file back from a copy."
            )
        return tuple(
            JournalRecord.from_mapping(values, source=f"{self.path.name}, line {number}")
            for number, values in enumerate(found.lines, start=1)
        )

    def entries(self) -> tuple[JournalEntry, ...]:
        """Every entry, the oldest first.

        Raises:
            DataError: the journal is damaged.
        """
        return tuple(record.entry for record in self.records())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=LOCK_WAIT_S):
                yield
        except Timeout as error:
            raise OutputError(
                f"{self.path.name} has been held by another process for {LOCK_WAIT_S:g} s: end it and try again."
            ) from error
        except OSError as error:
            raise OutputError(f"{self.path.name} cannot be written ({error.strerror}): check its folder.") from error

    def _settled_head(self) -> JournalHead:
        """The head, with the journal ending where it says; called while no other process writes."""
        content, head = _read(self.path)
        if head is None:
            if content:
                raise DataError(f"{self.head_path.name} is absent beside {self.path.name}: bring it back from a copy.")
            head = JournalHead()
            self._write_head(head)
        wrong = end_problem(content, head)
        if wrong:
            raise DataError(
                f"{self.path.name} does not end as {self.head_path.name} states, {wrong}: nothing was appended. "
                "Run `medseg journal verify` and bring the file back from a copy."
            )
        tail = content[head.size :]
        if not tail:
            return head
        link = link_of(tail, head)
        if link is not None:  # the line was written, and the process ended before it could write the head
            self._write_head(link.head)
            return link.head
        if b"\n" in tail[:-1]:
            raise DataError(f"{self.path.name} has lines that {self.head_path.name} does not count: see where from.")
        self._move_aside(tail, head)
        return head

    def _move_aside(self, tail: bytes, head: JournalHead) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        aside = self.path.with_name(f"{self.path.stem}.torn-{stamp}")
        with atomic_write(aside, overwrite=False) as temporary:
            temporary.write_bytes(tail)
        with self.path.open("rb+") as file:
            file.truncate(head.size)
            os.fsync(file.fileno())
        log.warning("the last line of %s was half-written and was moved to %s", self.path.name, aside.name)

    def _write_line(self, link: Link, head: JournalHead) -> None:
        is_new = not self.path.exists()
        with self.path.open("ab", buffering=0) as file:  # unbuffered: nothing is left to write when closing
            try:
                left = memoryview(link.line)
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                os.truncate(file.fileno(), head.size)  # a full disk: half a line helps nobody
                raise
        if is_new:
            flush_folder(self.path.parent)
        try:
            self._write_head(link.head)
        except OutputError:  # what was refused must not stand there, unless the head counts it after all
            if read_head(self.head_path) == head:
                os.truncate(self.path, head.size)
            raise

    def _write_head(self, head: JournalHead) -> None:
        with atomic_write(self.head_path, overwrite=True) as temporary:
            temporary.write_bytes(canonical(head.model_dump(mode="json")))


def verify_journal(path: Path) -> list[JournalProblem]:
    """Everything that is wrong with a journal and its head; nothing where both are whole.

    Any changed byte is found: a line must be the canonical form of what it says, hash to what it states, and name
    the hash of the line before it; the last must be the one that the head names.

    Raises:
        DataError: there is no journal, or it cannot be read.
    """
    if not path.is_file() and not _head_path(path).is_file():
        raise DataError(f"there is no journal {path.name} in {path.parent}: the path of a journal.jsonl was expected.")
    try:
        content, head = _read(path)
        found = check_chain(content, head)
        problems = list(found.problems)
    except DataError as error:  # of a damaged head; the lines still say what they can
        found = check_chain(_content(path), None)
        problems = [JournalProblem(0, str(error)), *(problem for problem in found.problems if problem.line)]
    for number, values in enumerate(found.lines, start=1):
        try:
            JournalRecord.from_mapping(values, source="entry")
        except MedsegError as error:
            problems.append(JournalProblem(number, f"is no entry that this version knows ({error})"))
    return sorted(problems, key=lambda problem: problem.line)


def _read(path: Path) -> tuple[bytes, JournalHead | None]:
    """Journal and head as they were at one moment."""
    for _ in range(READS):
        before = read_head(_head_path(path))
        content = _content(path)
        if read_head(_head_path(path)) == before:
            return content, before
    raise DataError(f"{path.name} is being written all the time: try again when fewer sessions run.")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise DataError(f"{path.name} cannot be read ({error.strerror}): check its permissions.") from error


def _head_path(path: Path) -> Path:
    return path.with_suffix(".head")


def _plain(entry: JournalEntry) -> dict[str, object]:
    return cast("dict[str, object]", entry.model_dump(mode="json"))
