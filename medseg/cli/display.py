"""Whether a window can be opened here, asked before Qt is: where no display answers, Qt ends the whole process.

In: the environment. Out: nothing, or one line of what is missing. The X server is asked by libxcb, as Qt will ask it,
so that its refusal of a key or of a host counts too; a dead one is told in milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from medseg.errors import SettingsError

__all__ = ["check_display"]

PATIENCE_S: Final = 5.0
"""For a display on another machine; one that is gone without a word would be waited for by the minute."""

DRAWN_IN: Final = ("xcb", "wayland")
"""Qt's platforms that need a display; whoever names another, such as ``offscreen``, knows why."""

HELP: Final = "log in to a desktop, or use ssh -X or xvfb-run."


def check_display(environment: Mapping[str, str] = os.environ) -> None:
    """Nothing, if a display answers, or is not needed.

    Raises:
        SettingsError: none is named, or none of those named answers.
    """
    platform = environment.get("QT_QPA_PLATFORM", "").split(":")[0].split("-")[0]
    if not sys.platform.startswith("linux") or (platform and platform not in DRAWN_IN):
        return
    x_server = environment.get("DISPLAY", "") if platform != "wayland" else ""
    wayland = environment.get("WAYLAND_DISPLAY", "") if platform != "xcb" else ""
    if not x_server and not wayland:
        raise SettingsError(f"the review opens a window, and there is no display: {HELP}")
    if (wayland and _wayland_answers(wayland, environment)) or (x_server and _x_answers(x_server)):
        return
    named = " or ".join(
        f"{name}={value}" for name, value in (("DISPLAY", x_server), ("WAYLAND_DISPLAY", wayland)) if value
    )
    raise SettingsError(f"the review opens a window, and no display answers at {named}: {HELP}")


def _x_answers(display: str) -> bool:
    """Whether an X server lets this person in; True where libxcb is not there to ask it."""
    try:
        xcb = ctypes.CDLL("libxcb.so.1")
    except OSError:
        return True
    xcb.xcb_connect.restype = ctypes.c_void_p
    xcb.xcb_connect.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    xcb.xcb_connection_has_error.argtypes = [ctypes.c_void_p]
    xcb.xcb_disconnect.argtypes = [ctypes.c_void_p]
    answers: list[bool] = []

    def ask() -> None:
        connection = xcb.xcb_connect(display.encode(), None)
        answers.append(xcb.xcb_connection_has_error(connection) == 0)
        xcb.xcb_disconnect(connection)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(PATIENCE_S)
    return answers == [True]


def _wayland_answers(display: str, environment: Mapping[str, str]) -> bool:
    """Whether a compositor listens at its socket."""
    path = Path(environment.get("XDG_RUNTIME_DIR", "")) / display
    with socket.socket(socket.AF_UNIX) as trying:
        trying.settimeout(PATIENCE_S)
        try:
            trying.connect(str(path))
        except OSError:
            return False
    return True
