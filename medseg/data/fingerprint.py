"""The fingerprint of a data set: what its training cases are like, from which a model's settings follow.

In: a manifest and its folder. Out: spacing, sizes, intensities and class sizes, in the patient's axes (R, A, S).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray

from medseg.data.label_schema import convert_labels
from medseg.data.manifest import DataCase, DataManifest
from medseg.errors import DataError, GeometryError
from medseg.geometry import Interpolation, geometry_of, resample_onto
from medseg.io import CaseFiles, Scan, read_case, read_labels

__all__ = ["Fingerprint", "data_fingerprint"]

AIR_HU = -500
"""Below it a voxel of a CT lies outside the patient."""

SAMPLES = 20_000
"""Voxels of one case that are looked at for the intensities."""


@dataclass(frozen=True)
class Fingerprint:
    """What the training cases are like; sizes and extents are (R, A, S), medians and largest over cases.

    Attributes:
        spacing_mm: median voxel size.
        extent_mm: median size of what is not background: the patient in CT, what is not 0 in MR.
        largest_extent_mm: the largest of these.
        labels_extent_mm: median size of the box around all labels.
        intensities: of each channel the 0.5th and 99.5th percentile, mean and deviation inside the labels.
        is_skull_stripped: whether most of the image is exactly 0, as where everything but the brain was removed.
        label_ml: median volume of each label where it occurs, by name.
        label_presence: the share of cases in which each label occurs.
        cases: how many cases were read.
    """

    spacing_mm: tuple[float, float, float]
    extent_mm: tuple[float, float, float]
    largest_extent_mm: tuple[float, float, float]
    labels_extent_mm: tuple[float, float, float]
    intensities: tuple[tuple[float, float, float, float], ...]
    is_skull_stripped: bool
    label_ml: dict[str, float]
    label_presence: dict[str, float]
    cases: int


@dataclass(frozen=True)
class _CaseFacts:
    spacing_mm: NDArray[np.float64]
    extent_mm: NDArray[np.float64]
    labels_extent_mm: NDArray[np.float64]
    samples: NDArray[np.float32]
    zero_share: float
    label_ml: dict[str, float]


def data_fingerprint(
    manifest: DataManifest, data_root: Path, *, on_case: Callable[[int, int], None] = lambda done, total: None
) -> Fingerprint:
    """The fingerprint of the training split; validation and test cases are not looked at.

    Raises:
        DataError: the data are not there, no training case has a label, or a label value is unknown.
        GeometryError: labels lie elsewhere than their scan.
    """
    cases = manifest.locate(data_root, split="train")
    facts = []
    for number, case in enumerate(cases, start=1):
        facts.append(_case_facts(case, manifest))
        on_case(number, len(cases))
    if not any(one.label_ml for one in facts):
        raise DataError(f"no training case of {manifest.name} has a label: run medseg data check {manifest.name}.")
    samples = np.concatenate([one.samples for one in facts], axis=1)
    volumes = {
        name: [one.label_ml[name] for one in facts if name in one.label_ml] for name in manifest.label_table.names
    }
    return Fingerprint(
        spacing_mm=_triple(np.median([one.spacing_mm for one in facts], axis=0)),
        extent_mm=_triple(np.median([one.extent_mm for one in facts], axis=0)),
        largest_extent_mm=_triple(np.max([one.extent_mm for one in facts], axis=0)),
        labels_extent_mm=_triple(np.median([one.labels_extent_mm for one in facts if one.label_ml], axis=0)),
        intensities=tuple(_intensity_facts(channel) for channel in samples),
        is_skull_stripped=float(np.median([one.zero_share for one in facts])) > 0.4,
        label_ml={name: float(np.median(found)) if found else 0.0 for name, found in volumes.items()},
        label_presence={name: len(found) / len(facts) for name, found in volumes.items()},
        cases=len(facts),
    )


def _case_facts(case: DataCase, manifest: DataManifest) -> _CaseFacts:
    names = [channel.name for channel in manifest.channels]
    scan = read_case(CaseFiles(case.case_id, case.channel_files(names)))
    label = read_labels(case.label)
    schema = manifest.schema_of_labels
    try:
        values = convert_labels(_on_grid_of(scan, label).numpy()[0], source=schema, target=schema)
    except (GeometryError, DataError) as error:
        raise type(error)(f"case {case.case_id}: {error}") from error
    image = scan.image.numpy()
    axes = _patient_axes(scan.image)
    spacing = np.array(scan.geometry.spacing_mm)[axes]
    is_ct = all(channel.modality == "CT" for channel in manifest.channels)
    inside = image[0] > AIR_HU if is_ct else (image != 0).any(axis=0)
    in_labels = image[:, values > 0] if values.any() else image.reshape(len(image), -1)
    step = max(1, in_labels.shape[1] // SAMPLES)
    voxel_ml = scan.geometry.voxel_volume_mm3 / 1000
    return _CaseFacts(
        spacing_mm=spacing,
        extent_mm=_extent(inside)[axes] * spacing,
        labels_extent_mm=_extent(values > 0)[axes] * spacing,
        samples=in_labels[:, ::step],
        zero_share=float((image == 0).all(axis=0).mean()),
        label_ml={
            one.name: float((values == one.index).sum()) * voxel_ml
            for one in schema.labels
            if (values == one.index).any()
        },
    )


def _on_grid_of(scan: Scan, label: MetaTensor) -> MetaTensor:
    """The labels on the scan's grid, as training takes them."""
    if scan.geometry.matches(geometry_of(label)):
        return label
    return resample_onto(label, scan.geometry, interpolation=Interpolation.NEAREST, outside=0)


def _patient_axes(image: MetaTensor) -> list[int]:
    """Which axis of the array runs most nearly from right to left, back to front, and bottom to top."""
    affine = geometry_of(image).affine
    codes = nib.orientations.io_orientation(affine)[:, 0]
    return [int(np.flatnonzero(codes == axis)[0]) for axis in range(3)]


def _extent(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Voxels along each axis of the box around a mask; the whole axis where it is empty."""
    places = torch.from_numpy(mask).nonzero()
    if not len(places):
        return np.array(mask.shape, np.float64)
    extent: NDArray[np.float64] = (places.amax(0) - places.amin(0) + 1).double().numpy()
    return extent


def _intensity_facts(values: NDArray[np.float32]) -> tuple[float, float, float, float]:
    low, high = np.percentile(values, [0.5, 99.5])
    clipped = np.clip(values, low, high)
    return float(low), float(high), float(clipped.mean()), float(clipped.std())


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    first, second, third = (round(float(value), 3) for value in values)
    return first, second, third
