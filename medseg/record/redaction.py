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

ANY_ABSOLUTE_PATH = re.compile(
    r"(?<![\w<>/])"  # not within a word, so that mm/s and T1/T2 stay
    r"(?:[A-Za-z]:[\\/]|\\\\|~[\w.-]*[\\/]|\.{1,2}[\\/]|file:/|/(?=[\w.~-]))"
    r"[^\s'\",;:)\]]*"
)
"""A path from the root, a drive, a share, the home or the working folder, up to the next space or quote."""


class PathRedactor:
    """Replaces every trace of some paths, and anything else that is a path from a root, in text.

    Every part of an input path counts, wherever it stands as a whole word: a folder called ``scan`` turns
    "the scan is tilted" into "the <input> is tilted". A record may lose a word; it may not keep a name.
    """

    def __init__(self, input_paths: Iterable[Path]) -> None:
        names = {name for path in input_paths for name in _traces_of(path)}
        longest_first = sorted(names, key=lambda name: (-len(name), name))
        alternatives = "|".join(re.escape(name) for name in longest_first)
        self._inputs = re.compile(rf"(?<![^\W_])(?:{alternatives})(?![^\W_])") if names else None

    def text(self, text: str) -> str:
        """The sentence without names."""
        shortened = text if self._inputs is None else self._inputs.sub(INPUT, text)
        return ANY_ABSOLUTE_PATH.sub(PATH, shortened)

    def value(self, value: JsonValue) -> JsonValue:
        """A nested value of JSON, its strings and keys without names."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(entry) for entry in value]
        if isinstance(value, dict):
            return {self.text(key): self.value(entry) for key, entry in value.items()}
        return value


def _traces_of(path: Path) -> set[str]:
    """The path as typed and as resolved, every name in it, and the file's name without its endings."""
    traces: set[str] = set()
    for form in (path, path.absolute(), path.resolve()):
        traces |= {str(form), form.as_posix(), *form.parts}
    name = Path(path.name)
    while name.suffix[1:].isalpha():  # .nii.gz is an ending, the .5 of an identifier such as 1.2.5 is not
        name = name.with_suffix("")
        traces.add(str(name))
    return {trace for trace in traces if any(letter.isalnum() for letter in trace)}
