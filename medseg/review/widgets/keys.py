"""Keys of a review, and the card that lists them."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

from napari.layers import Layer
from napari.viewer import Viewer

from medseg.atomic import atomic_write

__all__ = ["KEYS", "bind_keys", "free_keys", "key_card_html", "write_key_card"]

KEYS: Final[Mapping[str, tuple[str, str]]] = {
    "accept": ("A", "accept the case, or the chosen structure"),
    "reject": ("R", "reject it, with a reason"),
    "flag": ("F", "set a flag"),
    "next_case": ("N", "open the next case that nobody has decided on"),
    "jump": ("J", "go to the next uncertain or disagreeing spot"),
    "channel": ("C", "show the next channel"),
    "outline": ("O", "outlines or filled labels"),
    "difference": ("D", "show what was edited"),
    "copy_slice": ("K", "copy the label's outline to the next slice"),
    "interpolate": ("I", "fill the slices between those that are painted"),
    "undo": ("Control-Z", "undo"),
    "redo": ("Control-Shift-Z", "redo"),
    **{f"label_{number}": (str(number), f"work on label {number} of the list") for number in range(1, 10)},
}
"""What each key does: the name of the action, the key as napari writes it, and the sentence on the card."""


def bind_keys(viewer: Viewer, actions: Mapping[str, Callable[[], object]], *, layers: Sequence[Layer] = ()) -> None:
    """Let the keys do their actions in a viewer.

    napari's own keys of a layer, such as 1 to 7, come before the viewer's, so they are bound on the layers too.

    Args:
        viewer: the viewer.
        actions: what to do, by the names of ``KEYS``.
        layers: of the open case.
    """
    for name, act in actions.items():
        for place in (viewer, *layers):
            place.bind_key(KEYS[name][0], lambda _place, act=act: act(), overwrite=True)


def free_keys(viewer: Viewer) -> None:
    """Give the keys back to the viewer."""
    for key, _ in KEYS.values():
        viewer.bind_key(key, None)


def key_card_html() -> str:
    """The card as a page to print: every key and what it does."""
    named = [(key.replace("Control", "Ctrl").replace("-", "+"), text) for key, text in KEYS.values()]
    rows = "\n".join(f"<tr><th><kbd>{escape(key)}</kbd></th><td>{escape(text)}</td></tr>" for key, text in named)
    return (
        "<!doctype html>\n<html lang='en'><meta charset='utf-8'><title>medseg review: keys</title>\n"
        "<style>body{font-family:sans-serif;margin:2em}th{text-align:left;padding-right:2em}td,th{padding:.25em}"
        "kbd{border:1px solid #888;border-radius:4px;padding:.1em .5em}</style>\n"
        f"<h1>medseg review: keys</h1>\n<table>\n{rows}\n</table>\n</html>\n"
    )


def write_key_card(path: Path) -> None:
    """The card as an HTML file.

    Raises:
        OutputError: it cannot be written there.
    """
    with atomic_write(path, overwrite=True) as temporary:
        temporary.write_text(key_card_html(), encoding="utf-8")
