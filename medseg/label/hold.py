"""One server a work folder: two would remove each other's files and train in each other's runs.

In: the folder. Out: a context in which it is this process's, with a beat every minute; or an error that says whose it
is. A server that was killed has lost its hold at once, one on another machine after ten minutes of silence. What the
server started to train, score or segment many images ends with it: see ``end_with``.
"""

import getpass
import logging
import os
import platform
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.errors import LockedError, MedsegError, OutputError
from medseg.record import ProcessMark, WorkLock

__all__ = ["LOCK_NAME", "end_with", "held_work_folder"]

LOCK_NAME = "server.lock"

BEAT_S = 60.0
"""Between two signs of life; the hold is lost after ten minutes without one."""

LOOK_S = 1.0
"""How often a process that the server has started looks whether the server is there."""

logger = logging.getLogger(__name__)


@contextmanager
def held_work_folder(folder: Path) -> Iterator[None]:
    """The folder is this process's until the block ends, be it by Ctrl-C or a request to terminate.

    Raises:
        LockedError: another server works in it.
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{folder} cannot be written to ({error.strerror}): choose another with --work-folder."
        ) from error
    owner = f"a server of {_user()} on {platform.node() or 'this machine'} (process {os.getpid()})"
    lock = WorkLock.acquire(folder / LOCK_NAME, owner=owner, what=f"the work folder {folder}")
    is_over = threading.Event()
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # else nothing below would run
    beats = threading.Thread(target=_beat, args=(lock, is_over), name="work folder", daemon=True)
    beats.start()
    try:
        yield
    finally:
        is_over.set()
        beats.join()
        lock.release()
        signal.signal(signal.SIGTERM, before)


def end_with(server: ProcessMark) -> None:
    """Let this process end when the server that started it has ended: nobody else would stop it, or take its result."""

    def look() -> None:
        while not server.has_ended:
            time.sleep(LOOK_S)
        os._exit(1)  # what is being written appears whole or not at all

    threading.Thread(target=look, name="end with the server", daemon=True).start()


def _beat(lock: WorkLock, is_over: threading.Event) -> None:
    while not is_over.wait(BEAT_S):
        try:
            lock.renew()
        except LockedError as error:  # the machine slept, and another server was started meanwhile
            logger.error("the work folder was lost, the server stops: %s", error)
            os.kill(os.getpid(), signal.SIGINT)
            return
        except MedsegError as error:  # a disk that is away for a moment
            logger.warning("no sign of life could be given: %s", error)


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container in which the user has no name
        return "somebody"
