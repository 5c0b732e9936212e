"""How long the threads of torch wait for one another before they sleep.

torch shares an operation out by OpenMP; where GNU's library (libgomp, in torch's own packages for Linux) does that, a
thread that is through spins until the others are, by its standard for about ten milliseconds. Alone on a machine
that is right: the wait is never so long. Where another process takes one of the cores, the last thread does not come
while the first spins on the core that it waits for, operation after operation: a segmentation beside one busy core
took 15 to 25 times as long (``docs/benchmarks.md``). After a short wait, threads sleep here.
"""

import os
from collections.abc import Mapping, MutableMapping

__all__ = ["environment_as_started", "wait_briefly"]

SPIN_COUNT = "4000"
"""Turns of the spinning loop, some 0.1 ms: as fast as the standard 300000 where nothing else runs; 1000 were slower."""

SPIN_VARIABLE = "GOMP_SPINCOUNT"
SETTINGS_OF_A_PERSON = (SPIN_VARIABLE, "OMP_WAIT_POLICY")

_set_here: set[str] = set()
"""Names of variables that this process set itself."""


def wait_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let OpenMP's threads spin for a short time only, where the person has not said otherwise.

    The library reads it when torch is imported: afterwards it is for the processes that this one starts. A setting
    of the whole process, for the command line; the Python door leaves it to the program around it.
    """
    if not any(name in environment for name in SETTINGS_OF_A_PERSON):
        environment[SPIN_VARIABLE] = SPIN_COUNT
        _set_here.add(SPIN_VARIABLE)


def environment_as_started(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment without what ``wait_briefly`` set, for a process that is to run as a person's own would."""
    return {name: value for name, value in environment.items() if name not in _set_here}
