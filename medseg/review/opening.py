"""What a review begins with: the scan and the labels of one case, on one grid.

In: the files of a case. Out: its image, and its labels: those that were accepted last, else those of a file.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.errors import DataError, GeometryError, ImageError
from medseg.geometry import geometry_of
from medseg.io import CaseFiles, Scan, read_case, read_labels
from medseg.labels import LabelTable
from medseg.record import UsedBundle
from medseg.review.edits import NestedRegions
from medseg.review.folder import ReviewFolder
from medseg.review.versions import file_sha256, latest_version
from medseg.segmentation import Segmentation

__all__ = ["CaseToReview", "OpenedCase", "read_opened"]


@dataclass(frozen=True)
class CaseToReview:
    """What a person opens.

    Attributes:
        files: the scan, one file or frame a channel.
        label_table: what the values of the labels mean.
        labels: the label file to start from where no version was accepted yet; None: draw from nothing.
        bundle: the model that made them, as far as it is known.
        modality: of the first channel, such as ``CT``; empty where it is not known.
        regions: nested regions, where the labels have them.
    """

    files: CaseFiles
    label_table: LabelTable
    labels: Path | None = None
    bundle: UsedBundle | None = None
    modality: str = ""
    regions: NestedRegions | None = None

    @property
    def case_id(self) -> str:
        """The case's name in the journal."""
        return self.files.case_id


@dataclass(frozen=True, eq=False)
class OpenedCase:
    """A case as read: the scan, the labels to start from, and the hash of their file (None: drawn from nothing)."""

    scan: Scan
    segmentation: Segmentation
    sha256: str | None


def read_opened(case: CaseToReview, folder: ReviewFolder) -> OpenedCase:
    """The scan, and the labels to start from: the latest accepted version, else the file given, else none.

    Raises:
        MedsegError: one of them cannot be read, was changed after it was accepted, or they do not lie on one grid.
    """
    scan = read_case(case.files)
    version = latest_version(folder, case.case_id)
    if version is not None:
        segmentation, digest = version.read(), version.record.labels_sha256
        name = version.path.name
    elif case.labels is not None:
        segmentation, digest = _labels_in(case.labels, case.label_table), file_sha256(case.labels)
        name = case.labels.name
    else:
        empty = np.zeros(scan.geometry.shape, np.uint8)
        return OpenedCase(scan, Segmentation(empty, scan.geometry, case.label_table), None)
    if not segmentation.geometry.matches(scan.geometry):
        raise GeometryError(
            f"{name} has {segmentation.geometry.describe()}, the scan {scan.geometry.describe()}: one grid was "
            "expected. Give the labels that were made from this scan."
        )
    placed = Segmentation(segmentation.labels, scan.geometry, case.label_table)
    return OpenedCase(scan, placed, digest)


def _labels_in(path: Path, table: LabelTable) -> Segmentation:
    image = read_labels(path)
    array = image.as_tensor()[0].numpy()
    if array.dtype != np.uint8:
        raise ImageError(f"{path.name} holds labels up to {array.max()}: at most 255 was expected.")
    unknown = sorted(set(np.unique(array).tolist()) - {0} - {label.index for label in table})
    if unknown:
        raise DataError(
            f"{path.name} holds the label {unknown[0]}, which its table does not have: expected "
            f"{', '.join(f'{label.index} {label.name}' for label in table)}. Name the model or data set it belongs to."
        )
    return Segmentation(np.ascontiguousarray(array), geometry_of(image), table)
