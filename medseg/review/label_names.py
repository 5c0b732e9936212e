"""What the values of a label file mean: names and colours from what lies in the file or beside it.

In: the path of a label file and its values. Out: a ``LabelTable``, from the segments of 3D Slicer's ``.seg.nrrd``,
else from the bundle that the run record beside the file names, else plain numbers with distinct colours.
"""

import json
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import SimpleITK
from numpy.typing import NDArray

from medseg.bundle import OutputPaths, find_bundles, load_bundle
from medseg.errors import MedsegError
from medseg.io import LABEL_SUFFIXES
from medseg.labels import Label, LabelTable

__all__ = [
    "MOST_LABELS",
    "completed_table",
    "generic_table",
    "is_generic",
    "is_numbered",
    "is_result",
    "label_table_of",
]

MOST_LABELS: Final = 255
"""The highest value that a label table knows."""

PALETTE: Final = "tab20"


def label_table_of(path: Path, labels: NDArray[Any]) -> LabelTable | None:
    """What the values in ``labels``, read from ``path``, mean; None where one is beyond ``MOST_LABELS``."""
    values = [int(value) for value in np.unique(labels) if value]
    if values and values[-1] > MOST_LABELS:
        return None
    for table in (_segments(path), _bundle_table(path)):
        if table is not None and set(values) <= {label.index for label in table}:
            return table
    return generic_table(values)


def generic_table(values: list[int]) -> LabelTable:
    """A table that names each value by its number; of no values, the first label."""
    palette = mpl.colormaps[PALETTE]
    return LabelTable(
        labels=tuple(
            Label(
                index=value, name=_number_name(value), color=_rgb(palette(2 * (value - 1) % 20 + (value - 1) // 10 % 2))
            )
            for value in values or [1]
        )
    )


def is_generic(table: LabelTable) -> bool:
    """Whether the table gives numbers only: names from elsewhere say more."""
    return all(is_numbered(label) for label in table)


def is_numbered(label: Label) -> bool:
    """Whether the label is called by its number: it was made of a value, not of what anybody knew."""
    return label.name == _number_name(label.index)


def completed_table(table: LabelTable | None, labels: NDArray[Any]) -> LabelTable:
    """``table`` with an entry for every value in ``labels``, so that none is left out of a file; made anew of None."""
    values = [int(value) for value in np.unique(labels) if value]
    if table is None:
        return generic_table(values)
    missing = sorted(set(values) - {label.index for label in table})
    return LabelTable(labels=(*table.labels, *generic_table(missing))) if missing else table


def is_result(path: Path) -> bool:
    """Whether a run record lies beside the file: then it holds labels, whatever its name."""
    return _recorded_bundle(path) is not None


def _number_name(value: int) -> str:
    return f"label {value}"


def _rgb(color: tuple[float, ...]) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in color[:3])
    return red, green, blue


def _recorded_bundle(path: Path) -> str | None:
    """The name of the bundle in the run record beside a label file; None where there is no such record."""
    if not path.name.lower().endswith(LABEL_SUFFIXES):
        return None
    try:
        content = json.loads(OutputPaths.beside(path).record.read_text(encoding="utf-8"))
        return str(content["bundle"]["name"]) if "output_grid" in content else None
    except (OSError, ValueError, KeyError, TypeError, MedsegError):
        return None


def _bundle_table(path: Path) -> LabelTable | None:
    name = _recorded_bundle(path)
    if name not in find_bundles():  # a name alone does not say where a person's own bundle lies
        return None
    return load_bundle(str(name)).label_table


def _segments(path: Path) -> LabelTable | None:
    """The table in a ``.seg.nrrd``, where its segments do not overlap."""
    if not path.name.lower().endswith(".seg.nrrd"):
        return None
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        fields = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
        numbers = [key.removesuffix("_LabelValue") for key in fields if key.endswith("_LabelValue")]
        entries = [
            {
                "index": int(fields[f"{segment}_LabelValue"]),
                "name": fields[f"{segment}_Name"].replace("\\n", " ").replace("\\\\", "\\"),
                "color": _rgb(tuple(float(part) for part in fields[f"{segment}_Color"].split())),
            }
            for segment in numbers
        ]
        return LabelTable.from_entries(entries, source=path.name)
    except (RuntimeError, KeyError, ValueError, MedsegError):  # another program's fields: numbers do as well
        return None
