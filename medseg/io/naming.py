"""What a file name says: which channel a file is, which case it belongs to, and whether it is a label map.

In: the names of files without suffix and the channels a model wants. Out: (rest of the name, channel). The
last word of a name is the channel, after ``_``, ``-``, ``.`` or a space::

    BraTS2021_00006_t1ce          →  BraTS2021_00006,       t1ce
    BraTS-GLI-00001-000-t1c       →  BraTS-GLI-00001-000,   t1c   (the same channel, as BraTS calls it since 2023)
    BRATS_001_0001                →  BRATS_001,             channel number 1 (nnU-Net)
    BraTS2021_00006_seg           →  a label map, no channel
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import CaseError
from medseg.io.case import ChannelSpec
from medseg.io.formats import image_suffix, name_without_suffix

__all__ = ["ChannelVocabulary", "ParsedName", "is_label_name"]

BRATS_WORDS: dict[str, tuple[str, ...]] = {
    "t1": ("t1", "t1n", "t1w"),
    "t1ce": ("t1ce", "t1c", "t1gd"),
    "t2": ("t2", "t2w"),
    "flair": ("flair", "t2f"),
}
"""The four MR channels of BraTS and the names each has had: until 2021, since 2023, and in the Decathlon."""

NUMBERED_BRATS = ("t1", "t1ce", "t2", "flair")
"""``_0000`` to ``_0003`` in nnU-Net's BraTS data sets of every year."""

FRAMES_BRATS = ("flair", "t1", "t1ce", "t2")
"""The frames of the Decathlon's 4D brain tumour files."""

NUMBERED = re.compile(r"^(?P<rest>.+)_(?P<number>\d{4})$")

LABEL_NAME = re.compile(
    r"(^|[_\-. ])(seg|segm|segmentation|label|labels|mask|msk|gtv|prediction)([_\-. ]silver)?$", re.IGNORECASE
)
"""How label maps are named beside their images; ``seg_silver`` is a BraTS reference made by algorithms."""


@dataclass(frozen=True)
class ParsedName:
    """A file name split into what is left of it and its channel.

    ``channel`` is the name of a channel that the model wants, or None; ``number`` is nnU-Net's channel number;
    ``is_other`` marks a known channel that the model does not want. All three absent: the name says nothing.
    """

    rest: str
    channel: str | None = None
    number: int | None = None
    is_other: bool = False


class ChannelVocabulary:
    """The words by which file names mean the channels of one model.

    Raises:
        CaseError: no channel is wanted, or one word stands for two of them.
    """

    def __init__(self, channels: Sequence[ChannelSpec]) -> None:
        if not channels:
            raise CaseError("the model names no input channel: at least one was expected. Repair its bundle.")
        self.names = tuple(spec.name for spec in channels)
        self._channel_of: dict[str, str] = {}
        for spec in channels:
            for word in (spec.name, *spec.aliases):
                self._add(word.lower(), spec.name)
        self._brats_group_of: dict[str, str] = {}
        for spec in channels:
            self._add_brats_words(spec)
        known = set(self._channel_of) | {word for words in BRATS_WORDS.values() for word in words}
        self._words = sorted(known, key=len, reverse=True)  # the longest first, so that t1_gd is not read as gd

    def channel(self, word: str) -> str | None:
        """The wanted channel that ``word`` means, or None."""
        return self._channel_of.get(word.lower())

    def parse(self, name: str) -> ParsedName:
        """What a file name without suffix says."""
        lower = name.lower()
        for word in self._words:
            if lower == word or (lower.endswith(word) and lower[-len(word) - 1] in "_-. "):
                channel = self._channel_of.get(word)
                return ParsedName(name[: -len(word)].rstrip("_-. "), channel=channel, is_other=channel is None)
        numbered = NUMBERED.match(name)
        if numbered:
            return ParsedName(numbered["rest"], number=int(numbered["number"]))
        return ParsedName(name)

    def numbered_channels(self, count: int) -> tuple[tuple[str | None, ...], str]:
        """The channel each of nnU-Net's numbers 0 … ``count`` - 1 means (None: one not wanted), and the reason."""
        if self._is_brats and count == len(NUMBERED_BRATS):
            return self._brats(NUMBERED_BRATS), "channel numbers were read in nnU-Net's order for BraTS"
        return self._own_order(count), "channel numbers were read in the model's own order"

    def frame_channels(self, count: int) -> tuple[tuple[str | None, ...], str]:
        """The channel each of ``count`` frames of a 4D file means (None: one not wanted), and the reason."""
        if self._is_brats and count == len(FRAMES_BRATS):
            return self._brats(FRAMES_BRATS), "frames were read in the order of the Decathlon's brain tumour data"
        return self._own_order(count), "frames were read in the model's own order"

    @property
    def _is_brats(self) -> bool:
        return len(self._brats_group_of) == len(self.names)

    def _add(self, word: str, channel: str) -> None:
        other = self._channel_of.setdefault(word, channel)
        if other != channel:
            raise CaseError(f"the model's channels {other} and {channel} are both called {word!r}: repair its bundle.")

    def _add_brats_words(self, spec: ChannelSpec) -> None:
        meant = {word.lower() for word in (spec.name, *spec.aliases)}
        groups = [group for group, words in BRATS_WORDS.items() if meant.intersection(words)]
        if len(groups) != 1:  # not of BraTS, or so broad that a word of BraTS says nothing
            return
        self._brats_group_of[groups[0]] = spec.name
        for word in BRATS_WORDS[groups[0]]:
            self._channel_of.setdefault(word, spec.name)

    def _brats(self, order: Sequence[str]) -> tuple[str | None, ...]:
        return tuple(self._brats_group_of.get(group) for group in order)

    def _own_order(self, count: int) -> tuple[str | None, ...]:
        return self.names if count == len(self.names) else ()


def is_label_name(path: Path) -> bool:
    """Whether a file is named like a label map beside images."""
    return image_suffix(path) == ".seg.nrrd" or LABEL_NAME.search(name_without_suffix(path)) is not None
