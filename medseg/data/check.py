"""Is a data set what its manifest says? Every case is read, and every defect told with its fix."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from monai.data import MetaTensor
from numpy.typing import NDArray

from medseg.data.between_cases import BetweenCases
from medseg.data.fetch import has_digest
from medseg.data.label_schema import LabelSchema
from medseg.data.manifest import DataCase, DataManifest
from medseg.data.mirroring import doubts_of_mirrored_channels, doubts_of_mirrored_labels
from medseg.data.plausibility import doubts_of_brain_tumour, doubts_of_channels, doubts_of_sides
from medseg.data.unlabelled import images_without_labels
from medseg.errors import DataError, MedsegError
from medseg.geometry import Geometry, geometry_of
from medseg.io import file_doubts, read_labels, read_volume
from medseg.labels import LabelTable

__all__ = ["DataCheck", "Finding", "check_data"]

Kind = Literal["file", "image", "grid", "labels", "channels", "sides", "case"]

COARSE = 5
"""Every fifth voxel along each axis is enough to tell nearly every scan from a label map."""


@dataclass(frozen=True)
class Finding:
    """One defect of one case: what was found, and what to do."""

    case_id: str
    kind: Kind
    found: str
    fix: str


@dataclass(frozen=True)
class DataCheck:
    """What a check of a data set gave: cases looked at, cases of the manifest that are not there, and defects.

    ``unlabelled`` are test images without labels, which is no defect.
    """

    checked: int
    absent: tuple[str, ...]
    findings: tuple[Finding, ...]
    unlabelled: tuple[str, ...] = ()


def check_data(
    manifest: DataManifest, data_root: Path, *, on_case: Callable[[int, int], None] = lambda done, total: None
) -> DataCheck:
    """Read every case below ``data_root`` and compare it with the manifest.

    Cases of which nothing is there are counted, not complained of: a part of a data set is a data set.

    Raises:
        DataError: the folder is not there, or holds no case at all.
    """
    places = manifest.places(data_root)
    schema = manifest.schema_of_labels
    between = BetweenCases()
    absent, findings = [], []
    for number, (folder, case_id) in enumerate(places, start=1):
        try:
            case = manifest.case(folder, case_id)
        except DataError as error:
            findings.append(Finding(case_id, "file", str(error), "keep the one that was published"))
        else:
            if any(path.is_file() for path in (*case.images, case.label)):
                findings += _check_case(case, manifest, schema, between)
            else:
                absent.append(case_id)
        on_case(number, len(places))
    if len(absent) == len(places):
        raise DataError(
            f"{data_root} holds no case of {manifest.name}: expected the layout {manifest.image} and {manifest.label}."
        )
    findings += [Finding(case_id, "case", doubt, fix) for case_id, doubt, fix in between.doubts()]
    without = images_without_labels(manifest, "train")
    if without:
        fix = "label them, or take them out of the training images"
        findings.append(Finding(manifest.unlabelled["train"][0], "labels", without, fix))
    unlabelled = manifest.unlabelled.get("test", ())
    return DataCheck(len(places) - len(absent), tuple(absent), tuple(findings), unlabelled)


def _check_case(case: DataCase, manifest: DataManifest, schema: LabelSchema, between: BetweenCases) -> list[Finding]:
    missing = [path.name for path in (*case.images, case.label) if not path.is_file()]
    if missing:
        found = f"missing: {', '.join(missing)}"
        return [Finding(case.case_id, "file", found, "fetch the case again, or leave it out")]
    images = _Images({}, {}, [])
    findings = _check_digests(case, manifest) + _check_files(case)
    try:
        images = _read_images(case, [channel.name for channel in manifest.channels])
    except MedsegError as error:
        findings.append(Finding(case.case_id, "image", str(error), "repair or leave out the image"))
    findings += images.findings
    findings += _check_channel_grids(case, images.grids)
    try:
        labels = read_labels(case.label)
    except MedsegError as error:
        return [*findings, Finding(case.case_id, "labels", str(error), "repair or leave out the labels")]
    geometry, values = geometry_of(labels), labels.numpy()[0]
    findings += _check_labels(case, values, schema)
    findings += _check_label_grid(case, images.grids, geometry) + _check_for_labels(case, images, schema)
    between.add(case.case_id, next(iter(images.volumes.values()), None), values, geometry)
    return findings + _doubts(case, images, labels, manifest.label_table)


@dataclass(frozen=True, eq=False)
class _Images:
    """The channels of one case by name: grids and voxels (I, J, K), and what was wrong with them."""

    grids: dict[str, Geometry]
    volumes: dict[str, NDArray[np.float32]]
    findings: list[Finding]


def _read_images(case: DataCase, names: Sequence[str]) -> _Images:
    images = _Images({}, {}, [])
    if len(case.images) == 1 and len(names) > 1:  # one 4D file
        image = read_volume(case.images[0])
        if len(image) != len(names):
            found = f"{case.images[0].name} holds {len(image)} channels, {len(names)} were expected: {', '.join(names)}"
            images.findings.append(Finding(case.case_id, "image", found, "fetch it again, or correct the manifest"))
        for name, volume in zip(names, image.numpy(), strict=False):
            images.grids[name], images.volumes[name] = geometry_of(image), volume
    else:
        for name, path in zip(names, case.images, strict=True):
            image = read_volume(path)
            images.grids[name], images.volumes[name] = geometry_of(image), image.numpy()[0]
            if image.shape[0] != 1:
                found = f"{path.name} holds {image.shape[0]} channels, one was expected for {name}"
                images.findings.append(Finding(case.case_id, "image", found, "name each channel in the manifest"))
    for name, volume in images.volumes.items():
        if (volume == volume.flat[0]).all():
            found = f"channel {name} has one value everywhere"
            images.findings.append(Finding(case.case_id, "image", found, "fetch the image again"))
    return images


def _check_labels(case: DataCase, values: NDArray[Any], schema: LabelSchema) -> list[Finding]:
    findings = []
    try:
        schema.check(np.unique(values))
    except DataError as error:
        fix = "name the schema of the edition that the labels come from, or correct the labels"
        findings.append(Finding(case.case_id, "labels", str(error), fix))
    if not values.any():
        findings.append(Finding(case.case_id, "labels", "no voxel has a label", "leave the case out, or label it"))
    if values.all():
        found = "every voxel has a label, and none is background"
        findings.append(Finding(case.case_id, "labels", found, "leave the case out, or label it anew"))
    return findings


def _check_for_labels(case: DataCase, images: _Images, schema: LabelSchema) -> list[Finding]:
    """Channels in which nothing but background and the values of labels occur."""
    known = [0.0, *(label.index for label in schema.labels)]
    fix = "give the scan itself in place of its labels"
    return [
        Finding(case.case_id, "image", f"channel {name} holds the values of labels only", fix)
        for name, volume in images.volumes.items()
        if np.isin(volume[::COARSE, ::COARSE, ::COARSE], known).all()  # of a scan this is false at once
        and np.isin(volume, known).all()
        and not (volume == volume.flat[0]).all()
    ]


def _check_files(case: DataCase) -> list[Finding]:
    """Files that contradict themselves, or are damaged where nobody looks."""
    findings = []
    for path in (*case.images, case.label):
        try:
            doubts = file_doubts(path)
        except MedsegError as error:
            findings.append(Finding(case.case_id, "file", str(error), "fetch it again"))
            continue
        fix = "correct the header, by sform and qform that agree with the voxel sizes"
        findings += [Finding(case.case_id, "grid", doubt.rstrip("."), fix) for doubt in doubts]
    return findings


def _check_label_grid(case: DataCase, grids: Mapping[str, Geometry], geometry: Geometry) -> list[Finding]:
    grid = next(iter(grids.values()), geometry)
    if grid.matches(geometry):
        return []
    found = f"image: {grid.describe()}; labels: {geometry.describe()}"
    fix = "use labels drawn on this image, or resample them onto it by nearest neighbour"
    return [Finding(case.case_id, "grid", found, fix)]


def _doubts(case: DataCase, images: _Images, labels: MetaTensor, table: LabelTable) -> list[Finding]:
    geometry, values = geometry_of(labels), labels.numpy()[0]
    fix = "compare image and labels in a viewer, and correct the affine or the label names"
    findings = [Finding(case.case_id, "sides", doubt, fix) for doubt in doubts_of_sides(values, geometry, table)]
    if any(volume.shape != values.shape for volume in images.volumes.values()):
        return findings  # on different grids nothing can be compared, and that was told
    mirrored = doubts_of_mirrored_channels(images.volumes, geometry)
    mirrored = mirrored or ([] if findings else doubts_of_mirrored_labels(images.volumes, values, geometry))
    findings += [Finding(case.case_id, "sides", doubt, fix) for doubt in mirrored]
    doubts = doubts_of_channels(images.volumes) or doubts_of_brain_tumour(images.volumes, values, table)
    fix = "look at the channels in a viewer, and rename the files or correct the manifest"
    return findings + [Finding(case.case_id, "channels", doubt, fix) for doubt in doubts]


def _check_digests(case: DataCase, manifest: DataManifest) -> list[Finding]:
    """Files that are not those published; only where the manifest knows their hashes."""
    record = manifest.cases.get(case.case_id)
    if record is None or len(case.images) > 1:
        return []
    expected = {case.images[0]: record.image_sha256, case.label: record.label_sha256}
    return [
        Finding(
            case.case_id,
            "file",
            f"{path.name} is not the published file: its SHA-256 differs",
            "fetch it again, unless you changed it on purpose",
        )
        for path, sha256 in expected.items()
        if sha256 is not None and not has_digest(path, sha256, "sha256")
    ]


def _check_channel_grids(case: DataCase, grids: Mapping[str, Geometry]) -> list[Finding]:
    names = list(grids)
    return [
        Finding(
            case.case_id,
            "grid",
            f"{names[0]}: {grids[names[0]].describe()}; {name}: {grids[name].describe()}",
            "resample the channels onto one grid",
        )
        for name in names[1:]
        if not grids[names[0]].matches(grids[name])
    ]
