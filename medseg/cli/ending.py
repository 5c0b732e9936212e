"""How a command ends that a scheduler stops: what is half written is put away before the process leaves."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from medseg.cli.console import messages

__all__ = ["SIGNAL_EXIT", "telling_how_to_go_on", "tidied_when_ended"]

SIGNAL_EXIT: Final = 128
"""Exit codes above are 128 + the number of a signal, as shells count them."""

ENDING_SIGNALS: Final = ("SIGTERM", "SIGHUP")
"""What a scheduler sends at the end of a job, and a terminal that is closed; Windows knows only the first."""


@contextmanager
def tidied_when_ended() -> Iterator[None]:
    """Within, a signal that would end the process at once is an exit that leaves every ``with`` block first.

    Not for commands with a window: a handler in Python waits there until somebody moves the mouse.
    """
    taken = {}
    if threading.current_thread() is threading.main_thread():
        present = [getattr(signal, name) for name in ENDING_SIGNALS if hasattr(signal, name)]
        # One that is ignored (nohup), or that somebody else listens to, stays as it is.
        taken = {one: signal.signal(one, _leave) for one in present if signal.getsignal(one) is signal.SIG_DFL}
    try:
        yield
    finally:
        for one, before in taken.items():
            signal.signal(one, before)


@contextmanager
def telling_how_to_go_on(how: str, *, once: Path) -> Iterator[None]:
    """Where Ctrl-C or another signal ends the block, and ``once`` is there by then, one line says how to go on."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as leaving:
        code = leaving.code if isinstance(leaving, SystemExit) else SIGNAL_EXIT + signal.SIGINT
        if isinstance(code, int) and code > SIGNAL_EXIT and once.exists():
            messages.print(how, markup=False)
        raise


def _leave(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001  a handler's signature
    sys.exit(SIGNAL_EXIT + number)
