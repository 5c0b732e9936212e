"""The files of one case: which file, or which frame of a file, is which channel.

A model names the channels it wants (``ChannelSpec``); ``medseg.io.resolve`` finds them among the paths a person
typed and returns one ``CaseFiles`` a case, or a ``FailedCase`` for a member of a cohort that does not resolve.
"""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["CaseFiles", "ChannelFile", "ChannelSpec", "FailedCase"]


@dataclass(frozen=True)
class ChannelSpec:
    """One channel that a model wants: its name, its modality (``MR``, ``CT``) and other names it goes by."""

    name: str
    modality: str = ""
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChannelFile:
    """One channel of a case: a file, or one frame of a 4D file, or a DICOM folder.

    ``n_frames`` is how many frames that file has, where a data set states it: of any other number, none can be told.
    """

    channel: str
    path: Path
    frame: int | None = None
    n_frames: int | None = None


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case, in the channel order of the model; ``notes`` say what had to be assumed."""

    case_id: str
    channels: tuple[ChannelFile, ...]
    notes: tuple[str, ...] = ()

    def table(self) -> list[tuple[str, str]]:
        """(channel, file name) for every channel, with ``#frame`` where one frame of a 4D file is meant."""
        return [
            (entry.channel, entry.path.name if entry.frame is None else f"{entry.path.name}#{entry.frame}")
            for entry in self.channels
        ]


@dataclass(frozen=True)
class FailedCase:
    """A member of a cohort that does not resolve, and why, in one line."""

    case_id: str
    message: str
