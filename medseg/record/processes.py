"""Whether the process that left a mark still runs: what a killed session held is then free at once.

In: nothing. Out: a ``ProcessMark``, which another process on the same machine can look up. It names no machine: a
hash tells whether two processes see the same list of processes, which two containers on one machine do not.
"""

import hashlib
import uuid
from pathlib import Path
from typing import Final

import psutil
from pydantic import Field

from medseg.settings import Settings

__all__ = ["ProcessMark"]

BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
NAMESPACE: Final = Path("/proc/self/ns/pid")

CLOCK_S: Final = 2.0
"""Two readings of one process's start lie less than this apart; a number is not given anew so soon."""


class ProcessMark(Settings):
    """A process: its number, when it began, and a hash of the list of processes it is in.

    ``began_s`` counts from the start of the machine on Linux, where a process's time since 1970 is worked out anew from
    the clock and moves with it, and from 1970 elsewhere, where it is noted once.
    """

    number: int = Field(ge=1)
    began_s: float
    world: str

    @classmethod
    def of_this_process(cls) -> "ProcessMark":
        """The mark of the process that asks."""
        process = psutil.Process()
        return cls(number=process.pid, began_s=_began_s(process), world=_world())

    @property
    def has_ended(self) -> bool:
        """Whether it is known that the process runs no more; False for one of another machine, which cannot be seen."""
        if self.world != _world():
            return False
        try:
            process = psutil.Process(self.number)
            is_another = abs(_began_s(process) - self.began_s) > CLOCK_S
            return is_another or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False


def _began_s(process: psutil.Process) -> float:
    began_s = float(process.create_time())
    return began_s - float(psutil.boot_time()) if psutil.LINUX else began_s


def _world() -> str:
    """Equal for two processes that see each other, and after the next start of the machine another one."""
    try:
        seen = f"{BOOT.read_text().strip()} {NAMESPACE.readlink()}"
    except OSError:  # no Linux: the network card's number, which is drawn anew for each process where there is none
        seen = str(uuid.getnode())
    return hashlib.sha256(seen.encode()).hexdigest()[:16]
