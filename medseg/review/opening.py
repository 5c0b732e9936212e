"""What a review begins with: the scan and the labels of one case, on one grid.

In: the files of a case. Out: its image, and its labels: those that were accepted last, else those of a file.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.errors import DataError, GeometryError, ImageError
from medseg.geometry import geometry_of
from medseg.io import CaseFiles, Scan, read_case, read_labels
from medseg.labels import LabelTable
from medseg.record import UsedBundle
from medseg.review.edits import NestedRegions
from medseg.review.folder import ReviewFolder
from medseg.review.label_names import completed_table, is_generic
from medseg.review.states import CaseReview
from medseg.review.versions import Version, file_sha256, latest_version, list_versions
from medseg.segmentation import Segmentation

__all__ = ["CaseToReview", "OpenedCase", "lost_version", "read_opened"]


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
    """A case as read: the scan, the labels to start from, and the hash of their file (None: drawn from nothing).

    ``case`` is the one that was given, with what its labels meant when they were accepted last.
    """

    case: CaseToReview
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
        case = _as_accepted(case, version, segmentation.labels)
        name = version.path.name
    elif case.labels is not None:
        segmentation, digest = _labels_in(case.labels, case.label_table), file_sha256(case.labels)
        name = case.labels.name
    else:
        empty = np.zeros(scan.geometry.shape, np.uint8)
        return OpenedCase(case, scan, Segmentation(empty, scan.geometry, case.label_table), None)
    if not segmentation.geometry.matches(scan.geometry):
        raise GeometryError(
            f"{name} has {segmentation.geometry.describe()}, the scan {scan.geometry.describe()}: one grid was "
            "expected. Give the labels that were made from this scan."
        )
    placed = Segmentation(segmentation.labels, scan.geometry, case.label_table)
    return OpenedCase(case, scan, placed, digest)


def lost_version(folder: ReviewFolder, review: CaseReview) -> tuple[str, ...]:
    """A note where the labels that were accepted last are not on the disk any more; none where they are."""
    decision = review.decision
    digests = {version.record.labels_sha256 for version in list_versions(folder, review.case_id)}
    if decision is None or decision.output_sha256 is None or decision.output_sha256 in digests:
        return ()
    return (
        f"the labels that {decision.reviewer} accepted on {decision.time_utc:%Y-%m-%d} are gone from the review "
        "folder, and older ones are shown: bring them back from a copy, or accept these.",
    )


def _as_accepted(case: CaseToReview, version: Version, labels: NDArray[np.uint8]) -> CaseToReview:
    """The case with what was said of its labels when they were accepted; mere numbers give way to the case's names."""
    table, origin = version.label_table, version.record.origin
    if is_generic(table):
        return replace(case, label_table=completed_table(case.label_table, labels), bundle=origin.bundle)
    if table.means_the_same_as(case.label_table):
        return replace(case, bundle=origin.bundle)
    return replace(case, label_table=table, regions=origin.regions, bundle=origin.bundle)


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
