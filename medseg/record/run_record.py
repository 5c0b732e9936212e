"""The run record: everything needed to say how a segmentation came about, and nothing about the patient.

In: facts that the caller of a run collected. Out: one JSON file beside the result. The record holds no file
name, no folder, no host and no user: inputs and outputs are named by what they are and by their hash.
"""

import importlib.metadata
import json
import os
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, FiniteFloat, JsonValue
from pydantic_core import to_json

from medseg import __version__
from medseg.atomic import atomic_write
from medseg.geometry import Geometry
from medseg.record.redaction import PathRedactor
from medseg.settings import Settings

__all__ = [
    "GoldenWindow",
    "InputChannel",
    "Machine",
    "OutputGrid",
    "RunRecord",
    "UsedBundle",
    "UsedRuntime",
    "UsedWindows",
    "package_versions",
    "plain_settings",
    "write_record",
]

SCHEMA_VERSION: Final = 1
"""Raised whenever a key of the record changes its name or meaning."""

RECORDED_PACKAGES = ("torch", "monai", "numpy", "nibabel", "SimpleITK", "openvino", "onnxruntime")
"""The packages that can change a result: tensors and kernels, transforms, arrays, readers, runtimes."""

NO_FOLDER = r"^[^/\\]+$"


def _as_json(value: Any) -> Any:
    """Settings as JSON can hold them: tuples as lists, infinities as text, anything foreign by its description."""
    text = to_json(
        value,
        inf_nan_mode="strings",
        fallback=lambda other: other.item() if isinstance(other, np.generic) else str(other),
    )
    return json.loads(text)


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Utc = Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]
Seconds = Annotated[FiniteFloat, Field(ge=0)]
PlainValues = Annotated[Mapping[str, JsonValue], BeforeValidator(_as_json)]


class UsedBundle(Settings):
    """The model that ran: the bundle's name (no folder), its version and the hash of its weights."""

    name: str = Field(pattern=NO_FOLDER)
    version: str
    weights_sha256: Sha256


class InputChannel(Settings):
    """One channel of the scan: what it shows (``t1ce``, ``CT``)."""

    name: str = Field(pattern=NO_FOLDER)


class OutputGrid(Settings):
    """Where the labels lie: shape (I, J, K), the affine to RAS+ millimetres, voxel size and orientation."""

    shape: tuple[int, int, int]
    affine: tuple[tuple[FiniteFloat, ...], ...]
    spacing_mm: tuple[float, float, float]
    axcodes: str

    @classmethod
    def of(cls, geometry: Geometry) -> "OutputGrid":
        """The grid in plain numbers."""
        affine = tuple(tuple(float(value) for value in row) for row in geometry.affine)
        return cls(shape=geometry.shape, affine=affine, spacing_mm=geometry.spacing_mm, axcodes=geometry.axcodes)


class Machine(Settings):
    """What the run ran on; neither the name of the host nor of the user."""

    system: str
    release: str
    architecture: str
    cpu_count: int = Field(ge=1)

    @classmethod
    def this(cls) -> "Machine":
        """The machine that runs this process."""
        return cls(
            system=platform.system(),
            release=platform.release(),
            architecture=platform.machine(),
            cpu_count=os.cpu_count() or 1,
        )


class GoldenWindow(Settings):
    """How a compiled network agreed with plain torch on the window that proves it."""

    max_difference: float = Field(ge=0)
    label_agreement: float = Field(ge=0, le=1)


class UsedRuntime(Settings):
    """What computed the windows, in which precision, and why it was chosen."""

    name: str
    reason: str
    precision: str
    golden_window: GoldenWindow | None = None


def package_versions() -> dict[str, str]:
    """The versions of medseg, Python and the packages that can change a result; absent ones are left out."""
    versions = {"medseg": __version__, "python": platform.python_version()}
    for name in RECORDED_PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


class UsedWindows(Settings):
    """How many windows were laid over the scan.

    ``reused`` of them held one value in each channel, and took the answer to an earlier window like them.
    """

    count: int = Field(ge=0)
    reused: int = Field(ge=0)


class RunRecord(Settings):
    """How one segmentation came about.

    ``input_sha256`` is the hash of the whole case (of the sorted hashes of its files, where there are several).
    ``others`` are the models whose probabilities were averaged with the bundle's; ``configs_sha256`` are the hashes
    of the configurations of all.
    ``settings`` are the numbers of the bundle that shaped the result. ``stage_s`` are the stopwatch's seconds;
    ``process_peak_memory_mb`` is the peak of the process so far, not of this case alone, and ``gpu_peak_memory_mb``
    that of what it held of a GPU, where it computed on one.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    case_id: str = Field(min_length=1)
    started_utc: Utc = Field(default_factory=lambda: datetime.now(UTC))
    bundle: UsedBundle
    others: tuple[UsedBundle, ...] = ()
    configs_sha256: tuple[Sha256, ...] = ()
    input_sha256: Sha256
    channels: tuple[InputChannel, ...] = Field(min_length=1)
    output_grid: OutputGrid
    settings: PlainValues = Field(default_factory=dict)
    device: str
    runtime: UsedRuntime | None = None
    windows: UsedWindows | None = None
    stage_s: dict[str, Seconds] = Field(default_factory=dict)
    process_peak_memory_mb: Seconds | None = None
    gpu_peak_memory_mb: Seconds | None = None
    warnings: tuple[str, ...] = ()
    machine: Machine = Field(default_factory=Machine.this)
    packages: dict[str, str] = Field(default_factory=package_versions)


def plain_settings(values: Mapping[str, Any]) -> Mapping[str, JsonValue]:
    """Settings as they are read back from a record."""
    plain: Mapping[str, JsonValue] = _as_json(values)
    return plain


def write_record(path: Path, record: RunRecord, *, input_paths: Iterable[Path], overwrite: bool) -> None:
    """The record as JSON with sorted keys, its warnings and settings freed of every file and folder name.

    Args:
        path: the file to write.
        record: what ran.
        input_paths: the files and folders the scan was read from; no part of their names is kept, except what
            stands in ``case_id``.
        overwrite: whether a file at ``path`` may be replaced.
    Raises:
        OutputError: the file exists, or cannot be written.
    """
    redactor = PathRedactor(input_paths)
    values: Mapping[str, Any] = record.model_dump(mode="json") | {
        "settings": redactor.value(dict(record.settings)),
        "warnings": [redactor.text(warning) for warning in record.warnings],
    }
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
