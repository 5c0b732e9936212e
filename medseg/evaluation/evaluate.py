"""Predictions against references: pairs of label files → scores of every case and label.

In: ``Pair`` values and what their voxel values mean. Out: an ``Evaluation``. A case at a time is in memory, and
each label is measured on the box that holds it in both images.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.errors import CaseError, GeometryError, ImageError, SettingsError
from medseg.evaluation.overlap import count_voxels
from medseg.evaluation.pairs import Pair
from medseg.evaluation.results import Evaluation, LabelScore, Outcome
from medseg.evaluation.surface import hausdorff95_mm, normalised_surface_dice
from medseg.geometry import Geometry, geometry_of
from medseg.io import read_labels
from medseg.label_map import Box, box_around, label_boxes
from medseg.labels import LabelTable

__all__ = ["evaluate_pairs"]

GRID_TOLERANCE_MM = 1e-2
"""Grids whose corners differ by less are the same: headers that keep the orientation as 32-bit quaternions
move the far corner of a large scan by a few micrometres."""

LARGEST_LABEL = 65_535
"""Voxel values above this are no labels, but the intensities of an image given by mistake."""


@dataclass(frozen=True, eq=False)
class _LabelMap:
    """The labels (I, J, K) of one file, and for each value that occurs the box that holds it."""

    path: Path
    labels: NDArray[np.unsignedinteger]
    geometry: Geometry
    boxes: dict[int, Box]

    def mask(self, index: int, box: Box) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = self.labels[box] == index
        return mask

    def as_regions(self, regions: Mapping[str, Iterable[int]]) -> "_RegionMap":
        """The same file, its structures the regions, counted from 1."""
        values = {number: tuple(of_region) for number, of_region in enumerate(regions.values(), start=1)}
        boxes = {number: [self.boxes[one] for one in found if one in self.boxes] for number, found in values.items()}
        around = {number: box_around(found) for number, found in boxes.items() if found}
        return _RegionMap(path=self.path, labels=self.labels, geometry=self.geometry, boxes=around, values=values)


@dataclass(frozen=True, eq=False)
class _RegionMap(_LabelMap):
    """Label maps whose structures are unions of labels, which may overlap."""

    values: dict[int, tuple[int, ...]]

    def mask(self, index: int, box: Box) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = np.isin(self.labels[box], self.values[index])
        return mask


def evaluate_pairs(
    pairs: Iterable[Pair],
    *,
    label_table: LabelTable | None,
    tolerance_mm: float,
    regions: Mapping[str, Iterable[int]] | None = None,
) -> Evaluation:
    """The scores of every pair and label.

    Args:
        pairs: read one after the other; wrap them to show progress.
        label_table: the labels to score and their names. Absent, they are all values other than 0 that any
            file holds, named by their number.
        tolerance_mm: how far apart two surfaces may lie and still agree, for the normalised surface Dice.
        regions: unions of labels, by name, which are scored in place of the labels.
    Raises:
        SettingsError: the tolerance is negative or not finite.
        CaseError: there is no pair, or no file holds a label.
        GeometryError: prediction and reference of a pair lie on different grids.
        ImageError: a file is unreadable, or holds values that the label table does not have.
    """
    if not 0 <= tolerance_mm < math.inf:
        raise SettingsError(f"a tolerance of {tolerance_mm} mm found: a finite number of 0 or more was expected.")
    names = None if label_table is None else {label.index: label.name for label in label_table}
    structures = dict(enumerate(regions, start=1)) if regions else names
    by_case: dict[str, dict[int, LabelScore]] = {}
    for pair in pairs:
        if pair.case_id in by_case:
            raise CaseError(f"two pairs are called {pair.case_id}: a name of its own was expected for each case.")
        prediction, reference = _read(pair.prediction), _read(pair.reference)
        _refuse_different_grids(pair, prediction.geometry, reference.geometry)
        for labels in (prediction, reference):
            _refuse_unknown_values(labels, names)
        if regions:
            prediction, reference = prediction.as_regions(regions), reference.as_regions(regions)
        indices = structures or {index: str(index) for index in sorted({*prediction.boxes, *reference.boxes})}
        by_case[pair.case_id] = {
            index: _score(pair.case_id, prediction, reference, label=(index, name), tolerance_mm=tolerance_mm)
            for index, name in indices.items()
        }
    if not by_case:
        raise CaseError("no pair of files found: at least one prediction with its reference was expected.")
    if structures is None:
        structures = {index: str(index) for index in sorted({index for scores in by_case.values() for index in scores})}
    if not structures:
        raise CaseError("no file holds a value other than 0: nothing to compare. Check that these are the label files.")
    scores = tuple(
        by_case[case_id].get(index) or _both_empty(case_id, index, name)
        for case_id in by_case
        for index, name in structures.items()
    )
    return Evaluation(scores=scores, tolerance_mm=tolerance_mm)


def _read(path: Path) -> _LabelMap:
    image = read_labels(path)
    labels: NDArray[np.unsignedinteger] = image.as_tensor().cpu().numpy()[0]
    largest = int(labels.max())
    if largest > LARGEST_LABEL:
        raise ImageError(
            f"{path} holds the value {largest}: labels from 0 to {LARGEST_LABEL} were expected. "
            "Give the file of labels, not the scan."
        )
    return _LabelMap(path=path, labels=labels, geometry=geometry_of(image), boxes=label_boxes(labels))


def _refuse_different_grids(pair: Pair, prediction: Geometry, reference: Geometry) -> None:
    if not prediction.matches(reference, tolerance_mm=GRID_TOLERANCE_MM):
        raise GeometryError(
            f"{pair.case_id}: the prediction lies on another grid ({prediction.describe()}) than the reference "
            f"({reference.describe()}): one grid was expected. Resample the prediction onto the reference's grid first."
        )


def _refuse_unknown_values(labels: _LabelMap, names: dict[int, str] | None) -> None:
    unknown = sorted(set(labels.boxes) - set(names)) if names is not None else []
    if names is None or not unknown:
        return
    known = ", ".join(f"{index} {name}" for index, name in names.items())
    raise ImageError(
        f"{labels.path} holds the value{'s' if len(unknown) > 1 else ''} {', '.join(map(str, unknown))}, which the "
        f"label table does not have (0 background, {known}). Choose the bundle whose labels these are, or none."
    )


def _score(
    case_id: str, prediction: _LabelMap, reference: _LabelMap, *, label: tuple[int, str], tolerance_mm: float
) -> LabelScore:
    index, name = label
    boxes = [boxes[index] for boxes in (prediction.boxes, reference.boxes) if index in boxes]
    if not boxes:
        return _both_empty(case_id, index, name)
    box = box_around(boxes)
    geometry = reference.geometry
    masks = prediction.mask(index, box), reference.mask(index, box)
    counts = count_voxels(*masks)
    outcome = Outcome.of(prediction=counts.prediction, reference=counts.reference)
    if outcome is Outcome.BOTH_PRESENT:
        hd95_mm = hausdorff95_mm(*masks, geometry.affine)
        nsd = normalised_surface_dice(*masks, geometry.affine, tolerance_mm=tolerance_mm)
    else:
        hd95_mm, nsd = _diagonal_mm(geometry), 0.0
    return LabelScore(
        case_id=case_id,
        index=index,
        name=name,
        outcome=outcome,
        volume_reference_ml=counts.reference * geometry.voxel_volume_mm3 / 1000,
        volume_prediction_ml=counts.prediction * geometry.voxel_volume_mm3 / 1000,
        dice=counts.dice,
        iou=counts.iou,
        hd95_mm=hd95_mm,
        nsd=nsd,
    )


def _both_empty(case_id: str, index: int, name: str) -> LabelScore:
    return LabelScore(
        case_id=case_id,
        index=index,
        name=name,
        outcome=Outcome.BOTH_EMPTY,
        volume_reference_ml=0.0,
        volume_prediction_ml=0.0,
        dice=None,
        iou=None,
        hd95_mm=None,
        nsd=None,
    )


def _diagonal_mm(geometry: Geometry) -> float:
    """From corner to corner of the image, outer faces of the voxels included."""
    return math.hypot(*(size * spacing for size, spacing in zip(geometry.shape, geometry.spacing_mm, strict=True)))
