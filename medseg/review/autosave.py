"""Edits on the disk while they are made, so that a crash costs seconds and not an hour.

In: the edits of a case, with undo and redo. Out: a file to which they are appended, and from it the labels and the
history as they were. The file is a row of records, each with its length and checksum; the first is the header::

    | length | CRC-32 | header, JSON |  | length | CRC-32 | zlib(edit) |  | length | CRC-32 | zlib(undo) |  …

A record that a crash cut off is left out; everything before it comes back.
"""

import hashlib
import logging
import os
import struct
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from medseg.atomic import atomic_write
from medseg.errors import DataError, OutputError
from medseg.review.delta import Delta
from medseg.review.edit_record import Step, packed_edit, unpacked_edit
from medseg.review.history import History
from medseg.review.meaning import LabelMeaning
from medseg.settings import Settings

__all__ = ["Autosave", "AutosaveHeader", "Recovered", "labels_sha256", "read_autosave_header", "recover"]

log = logging.getLogger(__name__)

FRAME = struct.Struct("<II")
"""Before each record: its length in bytes and its CRC-32."""

LARGEST_HEADER = 65_536
"""A file whose first record claims to be longer than this is no autosave."""


class AutosaveHeader(Settings):
    """What the edits belong to: the case, who made them, and the labels they start from."""

    format: Literal["medseg-autosave"] = "medseg-autosave"
    schema_version: Literal[1] = 1
    case_id: str = Field(min_length=1)
    reviewer: str = Field(min_length=1)
    base_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    shape: tuple[int, int, int]
    started_utc: datetime = Field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, eq=False)
class Recovered:
    """What an autosave held.

    Attributes:
        header: the case and the reviewer.
        labels: (I, J, K) uint8, after the last whole record.
        history: every edit, those that were undone included.
        meaning: what the labels mean, where a model proposed some; None: what they meant when they were opened.
        records: edits, undos and redos that were replayed.
        whole_bytes: length of the file up to there.
        lost_bytes: what follows and could not be used; 0 where the file is whole.
    """

    header: AutosaveHeader
    labels: NDArray[np.uint8]
    history: History
    records: int
    whole_bytes: int
    lost_bytes: int
    meaning: LabelMeaning | None = None

    @property
    def summary(self) -> str:
        """What came back and what did not, in one line for a person."""
        back = f"{self.records} steps came back"
        if not self.lost_bytes:
            return f"{back}; nothing was lost."
        return f"{back}; the file's last {self.lost_bytes} bytes were cut off or damaged, and what they held is lost."


class Autosave:
    """The file of one case's edits, open for more of them.

    ``edit``, ``undo`` and ``redo`` only take note and cost nothing; ``flush`` writes what was noted and may run in a
    thread of its own, every few seconds.
    """

    def __init__(self, path: Path, header: AutosaveHeader, *, size: int) -> None:
        self.path = path
        self.header = header
        self._size = size
        self._pending: list[Step] = []
        self._noting = threading.Lock()
        self._writing = threading.Lock()

    @classmethod
    def start(cls, path: Path, labels: NDArray[np.uint8], *, case_id: str, reviewer: str) -> Self:
        """A new file for edits of ``labels`` (I, J, K) as they are now; its folder is made where it is absent.

        Raises:
            OutputError: there is one already, whose edits are to be recovered or discarded; or it cannot be written.
        """
        i, j, k = labels.shape
        header = AutosaveHeader(case_id=case_id, reviewer=reviewer, base_sha256=labels_sha256(labels), shape=(i, j, k))
        if path.exists():
            raise OutputError(f"{path.name} holds edits of an earlier session: recover or discard them first.")
        record = _framed(header.model_dump_json().encode())
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{path.parent} cannot be made ({error.strerror}): choose another place.") from error
        with atomic_write(path, overwrite=False) as temporary:
            temporary.write_bytes(record)
        return cls(path, header, size=len(record))

    @classmethod
    def resume(cls, path: Path, recovered: Recovered) -> Self:
        """The file that ``recovered`` came from, open for the edits that follow; what was torn off is cut away.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            with path.open("rb+") as file:
                file.truncate(recovered.whole_bytes)
                os.fsync(file.fileno())
        except OSError as error:
            raise _not_written(path, error) from error
        return cls(path, recovered.header, size=recovered.whole_bytes)

    @property
    def pending(self) -> int:
        """Steps that were noted and are not on the disk yet."""
        with self._noting:
            return len(self._pending)

    def edit(self, delta: Delta) -> None:
        """Take note of an edit; its arrays must not change any more."""
        self._note(delta)

    def undo(self) -> None:
        """Take note that the last edit was taken back."""
        self._note("undo")

    def redo(self) -> None:
        """Take note that the last edit that was undone was made again."""
        self._note("redo")

    def mean(self, meaning: LabelMeaning) -> None:
        """Take note of what the labels mean from here on."""
        self._note(meaning)

    def flush(self) -> int:
        """Put everything noted on the disk; returns how many steps that was.

        Raises:
            OutputError: it cannot be written; the steps stay noted for the next time, and the file stays whole.
        """
        with self._writing:
            with self._noting:
                steps, self._pending = self._pending, []
            if not steps:
                return 0
            try:
                self._append(b"".join(_framed(packed_edit(step)) for step in steps))
            except (OSError, OutputError) as error:
                with self._noting:
                    self._pending = [*steps, *self._pending]
                raise _not_written(self.path, error) if isinstance(error, OSError) else error from error
            return len(steps)

    def discard(self) -> None:
        """Remove the file: its edits are accepted, or given up.

        Raises:
            OutputError: it cannot be removed.
        """
        with self._writing, self._noting:
            self._pending = []
            try:
                self.path.unlink(missing_ok=True)
            except OSError as error:
                raise _not_written(self.path, error) from error

    def _note(self, step: Step) -> None:
        with self._noting:
            self._pending.append(step)

    def _append(self, content: bytes) -> None:
        with self.path.open("rb+", buffering=0) as file:  # not "ab": a file that was removed is not begun again
            if os.fstat(file.fileno()).st_size != self._size:
                raise OutputError(
                    f"{self.path.name} was changed by another session, which has the case now: agree with whoever "
                    "works there before anything is saved."
                )
            try:
                file.seek(self._size)
                left = memoryview(content)
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                os.truncate(file.fileno(), self._size)  # half a record would hide all that follow it
                raise
        self._size += len(content)


def labels_sha256(labels: NDArray[np.uint8]) -> str:
    """The hash of the voxels of a label map, in C order."""
    return hashlib.sha256(np.ascontiguousarray(labels, dtype=np.uint8).data).hexdigest()


def read_autosave_header(path: Path) -> AutosaveHeader:
    """What an autosave belongs to, without replaying it.

    Raises:
        DataError: it cannot be read, or its header is damaged.
    """
    try:
        with path.open("rb") as file:
            content = file.read(FRAME.size + LARGEST_HEADER)
    except OSError as error:
        raise DataError(f"{path.name} cannot be read ({error.strerror}): check its permissions.") from error
    record = next(_records(content, 0), None)
    try:
        return AutosaveHeader.model_validate_json(record[0] if record else b"")
    except ValidationError as error:
        raise DataError(
            f"{path.name} has no header that can be read: edits saved by medseg were expected. Move the file away."
        ) from error


def recover(path: Path, labels: NDArray[np.uint8]) -> Recovered:
    """The labels and the history that an autosave leads to.

    Args:
        path: the file.
        labels: (I, J, K) uint8, what the edits start from; they stay as they are.
    Raises:
        DataError: it cannot be read, its header is damaged, or it starts from other labels.
    """
    header = read_autosave_header(path)
    if labels.shape != header.shape or labels_sha256(labels) != header.base_sha256:
        raise DataError(
            f"{path.name} holds edits of other labels than those given: the ones they were made on were expected. "
            "Open the version they started from, or discard them."
        )
    content = path.read_bytes()
    state, history = np.array(labels, dtype=np.uint8, order="C"), History()
    replayed, whole, meaning = 0, FRAME.size + FRAME.unpack_from(content)[0], None
    for payload, end in _records(content, whole):
        step = unpacked_edit(payload, header.shape)
        if isinstance(step, LabelMeaning):
            meaning, whole = step, end
            continue
        if step is None or not _replay(step, state, history):
            break
        replayed, whole = replayed + 1, end
    if lost := len(content) - whole:
        log.warning("%s: %d bytes after %d whole steps could not be used", path.name, lost, replayed)
    return Recovered(header, state, history, records=replayed, whole_bytes=whole, lost_bytes=lost, meaning=meaning)


def _replay(step: Delta | Literal["undo", "redo"], labels: NDArray[np.uint8], history: History) -> bool:
    """Take one step; False where there is nothing to undo or to redo."""
    if step == "undo":
        return history.undo(labels) is not None
    if step == "redo":
        return history.redo(labels) is not None
    step.applied_to(labels)
    history.add(step)
    return True


def _records(content: bytes, start: int) -> Iterator[tuple[bytes, int]]:
    """The payload of each whole record from ``start`` on, and where it ends."""
    while start + FRAME.size <= len(content):
        length, checksum = FRAME.unpack_from(content, start)
        end = start + FRAME.size + length
        payload = content[start + FRAME.size : end]
        if not length or len(payload) < length or zlib.crc32(payload) != checksum:
            return
        yield payload, end
        start = end


def _framed(payload: bytes) -> bytes:
    return FRAME.pack(len(payload), zlib.crc32(payload)) + payload


def _not_written(path: Path, error: OSError) -> OutputError:
    return OutputError(f"the edits cannot be saved to {path.name} ({error.strerror}): check the disk and its folder.")
