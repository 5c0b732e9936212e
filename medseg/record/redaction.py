"""Taking the names of files out of text that is kept: a folder is often called after the patient in it.

In: a sentence or a nested value, and the paths of the input. Out: the same with ``<input>`` and ``<path>`` in
the place of names and paths.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from pydantic import JsonValue

__all__ = ["PathRedactor"]

INPUT = "<input>"
PATH = "<path>"

REST = r"[^\s'\",;:)\]]*"
"""What may follow in a path that begins in a sentence: anything up to the next space, quote or closing mark."""

ANY_ROOTED_PATH = (
    r"(?<![\w<>/])"  # not within a word, so that mm/s and T1/T2 stay
    r"(?:[A-Za-z]:[\\/]|\\\\|~[\w.-]*[\\/]|\.{1,2}[\\/]|file:/|/(?=[\w.~-]))" + REST
)
"""A path from the root, a drive, a share, the home or the working folder."""


class PathRedactor:
    """Replaces every trace of some paths, and anything else that is a path from a root, in text.

    Every part of an input path counts, wherever it stands as a whole word: a folder called ``scan`` turns
    "the scan is tilted" into "the <input> is tilted". A record may lose a word; it may not keep a name.
    """

    def __init__(self, input_paths: Iterable[Path]) -> None:
        paths = tuple(input_paths)
        whole = {str(form) for path in paths for form in _places_of(path)}
        names = {name for path in paths for name in _names_in(path)}
        # One pass, so that a folder called "input" does not find itself in a replacement; whole paths come first.
        patterns = [
            *(rf"(?<!\w){re.escape(place)}(?!\w)(?:[\\/]{REST})?" for place in _longest_first(whole)),
            rf"(?P<rooted>{ANY_ROOTED_PATH})",
            *(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])" for name in _longest_first(names)),
        ]
        self._private = re.compile("|".join(patterns))

    def text(self, text: str) -> str:
        """The sentence without names."""
        return self._private.sub(lambda match: PATH if match["rooted"] else INPUT, text)

    def value(self, value: JsonValue) -> JsonValue:
        """A nested value of JSON, its strings and keys without names."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(entry) for entry in value]
        if isinstance(value, dict):
            return {self.text(key): self.value(entry) for key, entry in value.items()}
        return value


def _places_of(path: Path) -> set[Path]:
    """The path and its folder, as typed and as resolved."""
    forms = {path, path.absolute(), path.resolve()}
    return {place for form in forms for place in (form, form.parent) if len(place.parts) > 1}


def _names_in(path: Path) -> set[str]:
    """Every name in the path, and that of the file without its endings."""
    names = {*path.parts, *path.absolute().parts, *path.resolve().parts}
    name = Path(path.name)
    while name.suffix[1:].isalpha():  # .nii.gz is an ending, the .5 of an identifier such as 1.2.5 is not
        name = name.with_suffix("")
        names.add(str(name))
    return {name for name in names if any(letter.isalnum() for letter in name)}


def _longest_first(texts: Iterable[str]) -> list[str]:
    """So that a name is not cut where another one ends."""
    return sorted(texts, key=lambda text: (-len(text), text))
