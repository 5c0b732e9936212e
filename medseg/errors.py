"""The error tree: everything medseg raises on purpose.

    MedsegError
    ├── ImageError          a scan cannot be read, or is not what a step needs
    │   └── GeometryError   two grids that should agree do not
    ├── CaseError           files do not resolve to channels of a case
    ├── BundleError         a model folder is missing, damaged or does not fit
    ├── DataError           a manifest, a split or a data set is wrong
    ├── SettingsError       a value from YAML, JSON or the command line is out of range
    ├── LockedError         somebody else works on the case now
    ├── OutputError         a result cannot be written where it was asked for
    ├── ReviewError         an edit or a measurement makes no sense on these labels
    ├── DownloadError       a file from the network is missing or has the wrong checksum
    ├── ServerError         a server that was asked for something refuses, or gives no answer
    └── RunError            the run itself failed: nothing the user typed would mend it

A message says what was found, what was expected and what to do, in one line. The command line prints
it without a stack trace and ends with ``exit_code``.
"""

__all__ = [
    "BundleError",
    "CaseError",
    "DataError",
    "DownloadError",
    "GeometryError",
    "ImageError",
    "LockedError",
    "MedsegError",
    "OutputError",
    "ReviewError",
    "RunError",
    "ServerError",
    "SettingsError",
]


class MedsegError(Exception):
    """Anything that medseg refuses, with a message for a person; ``exit_code`` 2 means the user can fix it."""

    exit_code = 2


class ImageError(MedsegError):
    """A scan is unreadable, or its shape, values or type are not what a step needs."""


class GeometryError(ImageError):
    """Two grids that should be the same, or overlap, do not."""


class CaseError(MedsegError):
    """The files given do not resolve to one file for each channel."""


class BundleError(MedsegError):
    """A bundle folder is missing, damaged, or does not fit the image."""


class DataError(MedsegError):
    """A data manifest, a split, or a data set on disk contradicts what is expected of it."""


class SettingsError(MedsegError):
    """A setting is unknown, of the wrong type or out of range."""


class LockedError(MedsegError):
    """Another session has the case open, or has taken it over."""


class OutputError(MedsegError):
    """A result cannot be written: the place exists, is read-only or is full."""


class ReviewError(MedsegError):
    """What a reviewer asked for cannot be done with these labels: none is there, one is locked, no slice is painted."""


class DownloadError(MedsegError):
    """A download failed, or its checksum is not the expected one."""


class ServerError(MedsegError):
    """A server cannot be reached, refuses, or answers with something else than was asked for."""


class RunError(MedsegError):
    """A run failed for a reason that no other input would mend."""

    exit_code = 1
