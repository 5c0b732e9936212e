"""Public names of a room that are imported when they are first used, so that a light command loads nothing heavy.

In: which file of a room offers which names. Out: the room's ``__getattr__`` (PEP 562). No file may bear the name of
something that it offers: once imported, the file would lie in that thing's place.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

__all__ = ["imported_at_first_use"]


def imported_at_first_use(room: str, offered: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a room whose files, by name, offer these names."""
    home_of = {name: home for home, names in offered.items() for name in names}
    hidden = sorted(set(home_of) & set(offered))
    if hidden:
        raise ImportError(f"{room}.{hidden[0]} is a file and a name that a file offers: call one of them otherwise.")

    def find(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        found = getattr(import_module(f"{room}.{home_of[name]}"), name)
        setattr(sys.modules[room], name, found)
        return found

    return find
