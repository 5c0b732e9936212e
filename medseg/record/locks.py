"""Who works on something now: one lock file for each case of a review, and for each work folder of a server.

In: the path of a lock and its owner's name. Out: a ``WorkLock`` that is renewed while the work lasts and released
after it, or a ``LockedError`` that says who is at work and since when.

A session whose process was killed on this machine has lost its lock at once; one on another machine, which cannot be
looked up, once it has been silent for ten minutes.

The last beat is the time the file was last changed, and it is compared with a file changed just now in the same
folder: both times come from the clock of that disk, whatever the clocks of the computers say.
"""

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout
from pydantic import Field

from medseg.atomic import atomic_write
from medseg.errors import LockedError, MedsegError, OutputError
from medseg.record.processes import ProcessMark
from medseg.settings import Settings

__all__ = ["STALE_AFTER_S", "LockHolder", "WorkLock", "holder_of"]

STALE_AFTER_S = 600.0
"""Ten minutes without a beat: the session has ended without releasing its lock."""

CASE = "this case"
"""What is locked, unless it is said otherwise."""

GUARD = ".guard"
"""A lock of the system's on this file lets one process at a time look at the locks of a folder and change them."""

GUARD_WAIT_S = 30.0


class LockHolder(Settings):
    """Who holds a lock: a name, since when, a mark of the session (a random word), and its process."""

    owner: str = Field(min_length=1)
    since_utc: datetime
    mark: str
    process: ProcessMark | None = None
    silent_s: float = Field(default=0.0, exclude=True)
    """Seconds since its last beat; not written, but read from the file's time."""

    def is_alive(self, *, stale_after_s: float) -> bool:
        """Whether its session may still be at work: heard of lately, and not known to have ended."""
        return self.silent_s <= stale_after_s and not (self.process is not None and self.process.has_ended)


@dataclass(frozen=True)
class WorkLock:
    """A lock that this session holds.

    ``taken_from`` is the holder whose lock had gone silent, or was given up, and was taken; None where it was free.
    ``what`` is what the messages call the thing that is locked.
    """

    path: Path
    holder: LockHolder
    what: str
    taken_from: LockHolder | None = None

    @classmethod
    def acquire(cls, path: Path, *, owner: str, what: str = CASE, stale_after_s: float = STALE_AFTER_S) -> Self:
        """The lock, taken; of several that ask at once, one gets it. Its folder is made where it is absent.

        Raises:
            LockedError: a session that is alive holds it, be it of the same person.
            OutputError: the lock cannot be written.
        """
        with _guarded(path):
            found = _read(path)
            if found is not None and found.is_alive(stale_after_s=stale_after_s):
                raise LockedError(_refusal(found, what, stale_after_s))
            return cls._taken(path, found, owner=owner, what=what)

    @classmethod
    def acquire_own(cls, path: Path, *, owner: str, stale_after_s: float = STALE_AFTER_S) -> Self:
        """Like ``acquire``, and taking over what another session of the same person holds.

        For a person who says that this other session is gone: it broke off, and nobody wants to wait for it.

        Raises:
            LockedError: a session of somebody else that is alive holds it.
            OutputError: the lock cannot be written.
        """
        with _guarded(path):
            found = _read(path)
            if found is not None and found.owner != owner and found.is_alive(stale_after_s=stale_after_s):
                raise LockedError(_refusal(found, CASE, stale_after_s))
            return cls._taken(path, found, owner=owner, what=CASE)

    @property
    def is_taken(self) -> bool:
        """Whether another session has the case now: the file of its edits is that session's.

        It only reads, and is False where it cannot: edits are to be saved although something is wrong with a lock.
        """
        try:
            return bool(json.loads(self.path.read_bytes())["mark"] != self.holder.mark)
        except (OSError, ValueError, TypeError, KeyError):
            return False

    def renew(self) -> None:
        """A beat: call it more often than every few minutes.

        Raises:
            LockedError: the lock was lost: it had gone silent, and another session has it now, or nobody.
            OutputError: the lock cannot be written.
        """
        with _guarded(self.path):
            self._refuse_if_lost()
            os.utime(self.path)

    def handed_to(self, owner: str) -> Self:
        """The same lock under another name, of the person who goes on in this session.

        Raises:
            LockedError: the lock was lost.
            OutputError: the lock cannot be written.
        """
        with _guarded(self.path):
            self._refuse_if_lost()
            holder = self.holder.model_copy(update={"owner": owner})
            with atomic_write(self.path, overwrite=True) as temporary:
                temporary.write_text(holder.model_dump_json() + "\n", encoding="utf-8")
        return replace(self, holder=holder)

    def release(self) -> None:
        """Give it back; a lock that another session has taken over stays with it."""
        with _guarded(self.path):
            found = _read(self.path)
            if found is not None and found.mark == self.holder.mark:
                self.path.unlink()

    @classmethod
    def _taken(cls, path: Path, found: LockHolder | None, *, owner: str, what: str) -> Self:
        mark = secrets.token_hex(8)
        process = ProcessMark.of_this_process()
        holder = LockHolder(owner=owner, since_utc=datetime.now(UTC), mark=mark, process=process)
        with atomic_write(path, overwrite=found is not None) as temporary:
            temporary.write_text(holder.model_dump_json() + "\n", encoding="utf-8")
        return cls(path, holder, what, taken_from=found)

    def _refuse_if_lost(self) -> None:
        found = _read(self.path)
        if found is None:
            raise LockedError(f"the lock of {self.what} is gone: close it, which keeps your edits, and open it again.")
        if found.mark != self.holder.mark:
            raise LockedError(
                f"this session was silent for too long, and {found.owner} has {self.what} since {_clock(found)}: agree "
                "with them before anything is saved."
            )


def holder_of(path: Path, *, stale_after_s: float = STALE_AFTER_S) -> LockHolder | None:
    """Who holds a lock at this moment; None where nobody does, or its session has ended or gone silent."""
    if not path.exists():
        return None
    with _guarded(path):
        found = _read(path)
    return found if found is not None and found.is_alive(stale_after_s=stale_after_s) else None


@contextmanager
def _guarded(path: Path) -> Iterator[None]:
    """Nobody else reads or changes the locks of this folder; the system lets go when a process ends."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.parent / GUARD, timeout=GUARD_WAIT_S):
            yield
    except Timeout as error:
        raise OutputError(f"{path.parent} has been held by another process for {GUARD_WAIT_S:g} s: end it.") from error
    except OSError as error:
        raise OutputError(f"{path.name} cannot be written ({error.strerror}): check its folder.") from error


def _read(path: Path) -> LockHolder | None:
    """The holder with the seconds of silence; None without a lock. A damaged lock counts as one of nobody's."""
    try:
        content = path.read_bytes()
        beat = path.stat().st_mtime
    except FileNotFoundError:
        return None
    silent_s = max(_now_on_disk(path.parent) - beat, 0.0)
    try:
        values = json.loads(content)
        return LockHolder.from_mapping({**values, "silent_s": silent_s}, source=path.name)
    except (ValueError, TypeError, MedsegError):
        unknown = datetime.fromtimestamp(beat, UTC)
        return LockHolder(owner="somebody", since_utc=unknown, mark="unknown", silent_s=silent_s)


def _now_on_disk(folder: Path) -> float:
    """The time by the clock that stamps the files of this folder."""
    guard = folder / GUARD
    os.utime(guard)
    return guard.stat().st_mtime


def _refusal(found: LockHolder, what: str, stale_after_s: float) -> str:
    return (
        f"{found.owner} has {what} open since {_clock(found)} (last sign {found.silent_s:.0f} s ago): "
        f"choose another, or wait until it is closed or silent for {stale_after_s / 60:g} minutes."
    )


def _clock(holder: LockHolder) -> str:
    return f"{holder.since_utc.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
