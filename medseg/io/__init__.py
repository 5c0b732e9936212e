"""Scans in, labels out: the only room that knows file formats."""

from typing import TYPE_CHECKING

from medseg.first_use import imported_at_first_use
from medseg.io.case import CaseFiles, ChannelFile, ChannelSpec, FailedCase

if TYPE_CHECKING:
    from medseg.io.compact import compacted
    from medseg.io.loading import file_doubts
    from medseg.io.probabilities import PROBABILITY_SUFFIX, probability_file
    from medseg.io.read import Scan, case_sha256, read_case, read_labels, read_volume
    from medseg.io.resolve import resolve_cases, unread_files
    from medseg.io.write import LABEL_SUFFIXES, write_image, write_labels
else:
    __getattr__ = imported_at_first_use(
        __name__,
        {
            "compact": ("compacted",),
            "loading": ("file_doubts",),
            "probabilities": ("PROBABILITY_SUFFIX", "probability_file"),
            "read": ("Scan", "case_sha256", "read_case", "read_labels", "read_volume"),
            "resolve": ("resolve_cases", "unread_files"),
            "write": ("LABEL_SUFFIXES", "write_image", "write_labels"),
        },
    )

__all__ = [
    "LABEL_SUFFIXES",
    "PROBABILITY_SUFFIX",
    "CaseFiles",
    "ChannelFile",
    "ChannelSpec",
    "FailedCase",
    "Scan",
    "case_sha256",
    "compacted",
    "file_doubts",
    "probability_file",
    "read_case",
    "read_labels",
    "read_volume",
    "resolve_cases",
    "unread_files",
    "write_image",
    "write_labels",
]
