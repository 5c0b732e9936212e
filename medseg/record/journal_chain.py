"""The chain under a journal: how a line is written, hashed and tied to the one before.

In: plain values, or the bytes of a journal. Out: a line with its hash, or all that is wrong with the chain.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from medseg.errors import DataError, MedsegError
from medseg.record.run_record import Sha256
from medseg.settings import Settings

__all__ = [
    "ChainCheck",
    "JournalHead",
    "JournalProblem",
    "Link",
    "canonical",
    "chained",
    "check_chain",
    "end_problem",
    "link_of",
    "read_head",
]

NOTHING_BEFORE = "0" * 64
"""What the first line names as the hash of the line before it."""

KEYS = {"entry", "number", "previous_sha256", "sha256"}


class JournalHead(Settings):
    """How far a journal had come: lines, bytes, and the hash of the last line."""

    count: int = Field(default=0, ge=0)
    size: int = Field(default=0, ge=0)
    sha256: Sha256 = NOTHING_BEFORE


@dataclass(frozen=True)
class JournalProblem:
    """What is wrong at one line, counted from 1; 0 is the head, or the journal as a whole.

    ``is_torn_end``: bytes after the last line that the head counts, as a crash leaves them; no decision is lost.
    """

    line: int
    found: str
    is_torn_end: bool = False

    def __str__(self) -> str:
        return f"line {self.line}: {self.found}" if self.line else self.found


@dataclass(frozen=True)
class Link:
    """One line, its values, and the head once it is written."""

    line: bytes
    values: Mapping[str, Any]
    head: JournalHead


@dataclass(frozen=True)
class ChainCheck:
    """The values of the lines that could be read, and all that is wrong."""

    lines: tuple[Mapping[str, Any], ...]
    problems: tuple[JournalProblem, ...]


def canonical(values: Mapping[str, Any]) -> bytes:
    """The one way in which values are written: sorted keys, no spaces, ASCII, one line."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.encode("ascii") + b"\n"


def chained(entry: Mapping[str, Any], head: JournalHead) -> Link:
    """The line for an entry that follows ``head``."""
    values: dict[str, Any] = {"entry": entry, "number": head.count + 1, "previous_sha256": head.sha256}
    values["sha256"] = _hash_of(values)
    return _link(canonical(values), values, head)


def link_of(line: bytes, head: JournalHead) -> Link | None:
    """The line that was to follow ``head``, or None where the bytes are not one whole line of its chain."""
    values, wrong = _read_line(line)
    if values is None or wrong or (values["number"], values["previous_sha256"]) != (head.count + 1, head.sha256):
        return None
    return _link(line, values, head)


def end_problem(content: bytes, head: JournalHead) -> str:
    """What keeps the first ``head.size`` bytes from ending with the line that the head names; "" where they do."""
    if len(content) < head.size:
        return f"it has {len(content)} bytes of {head.size}: lines at its end are missing"
    if not head.count:
        return "" if not head.size else "its head counts no line"
    counted = content[: head.size]
    values, wrong = _read_line(counted[counted.rfind(b"\n", 0, -1) + 1 :])
    if wrong or values is None:
        return f"line {head.count} {wrong}"
    found, expected = (values["number"], values["sha256"]), (head.count, head.sha256)
    return "" if found == expected else f"its line {values['number']} is another than line {head.count} of the head"


def read_head(path: Path) -> JournalHead | None:
    """The head, or None where there is none.

    Raises:
        DataError: it is damaged or cannot be read.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path.name} cannot be read ({error.strerror}): check its permissions.") from error
    try:
        head = JournalHead.from_mapping(json.loads(content), source=path.name)
        is_whole = canonical(head.model_dump(mode="json")) == content
    except (ValueError, RecursionError, MedsegError):
        is_whole = False
    if not is_whole:
        raise DataError(f"{path.name} is damaged: count, size and hash of a journal were expected.")
    return head


def check_chain(content: bytes, head: JournalHead | None) -> ChainCheck:
    """Whether the lines form one chain that reaches the head, and goes at most one whole line beyond.

    Args:
        content: the bytes of the journal.
        head: None where the file is absent.
    """
    problems, read = _problems_of_head(content, head), []
    counted = head or JournalHead()
    previous = NOTHING_BEFORE
    for number, line in enumerate(_lines(content), start=1):
        values, wrong = _read_line(line)
        if wrong and number == counted.count + 1 and content[counted.size :] == line:
            problems.append(JournalProblem(number, "is half-written, as a crash leaves it", is_torn_end=True))
            break
        if wrong:
            problems.append(JournalProblem(number, wrong))
        if values is None:
            previous = ""  # what the next line should name cannot be known
            continue
        problems += [JournalProblem(number, said) for said in _breaks(values, number, previous)]
        previous = values["sha256"]
        read.append(values)
    return ChainCheck(tuple(read), tuple(problems))


def _problems_of_head(content: bytes, head: JournalHead | None) -> list[JournalProblem]:
    if head is None:
        return [JournalProblem(0, "the head is absent beside the journal")] if content else []
    wrong = end_problem(content, head)
    if wrong:
        return [JournalProblem(0, f"the journal does not end as its head states: {wrong}")]
    if content.count(b"\n", head.size) > 1:
        return [JournalProblem(0, "lines stand beyond the end that the head states: at most one was expected")]
    return []


def _breaks(values: Mapping[str, Any], number: int, previous: str) -> list[str]:
    """How a whole line does not fit where it stands."""
    found = []
    if values["number"] != number:
        found.append(f"has the number {values['number']}: lines are missing, or were put in")
    if previous and values["previous_sha256"] != previous:
        found.append("does not follow the line before it: one of the two was changed, or lines are missing")
    return found


def _lines(content: bytes) -> list[bytes]:
    """The lines with their ends; line feeds alone end one."""
    whole = [line + b"\n" for line in content.split(b"\n")]
    last = whole.pop()[:-1]
    return [*whole, last] if last else whole


def _read_line(line: bytes) -> tuple[dict[str, Any] | None, str]:
    """The values of a line, None where they cannot be read, and what is wrong with the line by itself."""
    if not line.endswith(b"\n"):
        return None, "does not end: it was cut off"
    try:
        values = json.loads(line)
        written = canonical(values) if isinstance(values, dict) else b""
    except (ValueError, RecursionError):
        return None, "is no JSON"
    if not isinstance(values, dict) or set(values) != KEYS or not isinstance(values["number"], int):
        return None, f"is no line of a journal: {', '.join(sorted(KEYS))} were expected"
    if written != line:
        return values, "is not written as a journal writes it: a byte was changed"
    if values["sha256"] != _hash_of({key: value for key, value in values.items() if key != "sha256"}):
        return values, "does not have the hash that it states: it was changed"
    return values, ""


def _link(line: bytes, values: Mapping[str, Any], head: JournalHead) -> Link:
    after = JournalHead(count=head.count + 1, size=head.size + len(line), sha256=values["sha256"])
    return Link(line, values, after)


def _hash_of(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(values)).hexdigest()
