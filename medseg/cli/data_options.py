"""The options by which commands find a data set, and where its scans lie."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Data", "DataRoot", "root_of"]

Data = Annotated[str, typer.Option(help="Data manifest: a JSON file, or the name of one that medseg brings along.")]

DataRoot = Annotated[
    Path | None,
    typer.Option(
        envvar=["MEDSEG_DATA", "MEDSEG_TEST_DATA"],
        help="Where the data set lies: its folder, or the folder around it. By default beside the manifest.",
    ),
]


def root_of(data: str, data_root: Path | None) -> Path:
    """Where the scans lie: beside a ``dataset.json``; else the place given, beside the manifest, or here."""
    path = Path(data)
    beside = path if path.is_dir() else path.parent if path.is_file() else Path.cwd()
    is_layout = (path.is_dir() or path.name == "dataset.json") and (beside / "dataset.json").is_file()
    return beside if is_layout else data_root or beside
