"""What is known of a case before it is opened: what its labels mean, which model made them, what it shows.

In: a case of a worklist. Out: a ``CaseToReview``; the channels and the modality of an open one.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from medseg.bundle import Bundle, edition_of, find_bundles, load_bundle
from medseg.errors import MedsegError
from medseg.io import read_labels
from medseg.labels import LabelTable
from medseg.review.edits import NestedRegions, nested_regions
from medseg.review.label_names import generic_table, label_table_of
from medseg.review.opening import CaseToReview
from medseg.review.session import ReviewSession
from medseg.review.windowing import likely_modality
from medseg.review.worklist import Worklist, WorklistCase

__all__ = ["channels_of", "middle_of", "modality_of", "to_review"]


def to_review(case: WorklistCase, worklist: Worklist) -> CaseToReview:
    """A case of a worklist as a session opens it: what its values mean, which model made them."""
    bundle = _bundle_of(case)
    table, regions = _meaning_of(case, worklist, bundle)
    return CaseToReview(
        files=case.files,
        label_table=table,
        labels=case.segmentation,
        bundle=case.bundle,
        modality=bundle.channels[0].modality if bundle else "",
        regions=regions,
    )


def _meaning_of(
    case: WorklistCase, worklist: Worklist, bundle: Bundle | None
) -> tuple[LabelTable, NestedRegions | None]:
    """What the labels mean and how they nest, by the data set, the names of BraTS's files, the model or the file."""
    if worklist.label_table is not None:
        return worklist.label_table, worklist.regions
    edition = edition_of(case.files)
    if edition is not None and _holds_only(case, edition.label_table):
        return edition.label_table, nested_regions(edition)
    if bundle is not None:
        return bundle.label_table, nested_regions(bundle.label_schema)
    if case.segmentation is None:
        return generic_table([]), None
    labels = read_labels(case.segmentation).as_tensor().numpy()
    return label_table_of(case.segmentation, labels) or generic_table([]), None


def _holds_only(case: WorklistCase, table: LabelTable) -> bool:
    """Whether every value of the case's labels is in the table: later editions have more."""
    if case.segmentation is None:
        return True
    values = set(np.unique(read_labels(case.segmentation).as_tensor().numpy()).tolist())
    return values <= {0, *(label.index for label in table)}


def channels_of(session: ReviewSession) -> Mapping[str, NDArray[np.float32]]:
    """The channels (I, J, K) of an open case by name."""
    names = [channel.channel for channel in session.case.files.channels]
    return dict(zip(names, session.scan.image.as_tensor().numpy(), strict=True))


def middle_of(labels: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Where there is most to see: the middle (i, j, k) of the labels (I, J, K), else of the scan."""
    found = np.nonzero(labels[::2, ::2, ::2])  # every other voxel: a large CT is not searched whole
    i, j, k = (
        2 * float(np.median(axis)) if len(axis) else size // 2 for axis, size in zip(found, labels.shape, strict=True)
    )
    return i, j, k


def modality_of(session: ReviewSession) -> str:
    """``CT`` or ``MR``: what the model says, else what the intensities look like."""
    return session.case.modality or likely_modality(session.scan.image.as_tensor().numpy())


def _bundle_of(case: WorklistCase) -> Bundle | None:
    """The model that made a case's labels, where it is one that this installation has."""
    if case.bundle is None or case.bundle.name not in find_bundles():
        return None
    try:
        return load_bundle(case.bundle.name)
    except MedsegError:
        return None
