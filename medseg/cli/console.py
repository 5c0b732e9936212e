"""What a person sees: progress and tables on stderr, results for programs on stdout."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column, Table
from rich.text import Text

from medseg.errors import OutputError

__all__ = ["error_line", "messages", "print_json", "print_table", "progress_bars", "working"]

FEW_COLUMNS = 4
WHOLE_NAMES = 0.4
"""A first column of up to this share of the terminal stays whole, if few stand beside it: its names are copied."""

messages = Console(stderr=True, highlight=False, soft_wrap=True)
"""Where everything goes that is said to a person."""


def print_json(value: Any) -> None:
    """One JSON document on stdout; where that does not take every character, in ASCII, which means the same.

    Raises:
        OutputError: stdout is a file on a disk that is full.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:  # names of files may hold bytes that are no text at all
        text = json.dumps(value, indent=2)
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read it has seen enough
        raise
    except OSError as error:
        raise OutputError(f"the results cannot be printed ({error.strerror}): send them elsewhere.") from error


def print_table(*headings: str, rows: Iterable[Sequence[str | Text]]) -> None:
    """A table for a person, without a head where no headings are given; what is too long is broken, never cut off.

    Brackets in a cell are no markup.
    """
    cells = [[Text(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    names = headings or ("",) * len(cells[0])
    table = Table(*(Column(name, overflow="fold") for name in names), show_header=bool(headings))
    longest = max((row[0].cell_len for row in cells), default=0)
    table.columns[0].no_wrap = len(names) <= FEW_COLUMNS and longest <= WHOLE_NAMES * messages.width
    for row in cells:
        table.add_row(*row)
    messages.print(table)


def error_line(message: str) -> None:
    """One line on stderr that says what was wrong; brackets in it are no markup."""
    messages.print(f"error: {' '.join(message.split())}", style="bold red", markup=False)


@contextmanager
def progress_bars(*, shown: bool) -> Iterator[Progress]:
    """Progress bars on a terminal; nothing when asked to be quiet or when stderr goes to a file."""
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=messages,
        disable=not (shown and messages.is_terminal),
        transient=True,
    )
    with progress:
        yield progress


@contextmanager
def working(what: str, *, shown: bool) -> Iterator[None]:
    """A spinner on a terminal while something without measurable progress goes on."""
    if shown and messages.is_terminal:
        with messages.status(f"{what} …"):
            yield
    else:
        yield
