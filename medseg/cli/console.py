"""What a person sees: progress and tables on stderr, results for programs on stdout."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

__all__ = ["error_line", "messages", "print_json", "progress_bars", "working"]

messages = Console(stderr=True, highlight=False, soft_wrap=True)
"""Where everything goes that is said to a person."""


def print_json(value: Any) -> None:
    """One JSON document on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


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
