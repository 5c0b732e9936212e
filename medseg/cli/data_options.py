"""The options by which commands find a data set, and where its scans lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.console import messages

if TYPE_CHECKING:
    from medseg.cli.context import GlobalOptions
    from medseg.data import DataManifest

__all__ = ["Data", "DataRoot", "manifest_of", "root_of"]

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


def manifest_of(data: str, *, options: GlobalOptions) -> DataManifest:
    """The data set to learn from; images of it that have no labels are told of, since none of them is used.

    Raises:
        MedsegError: there is none of that name, or it cannot be understood.
    """
    from medseg.data import images_without_labels, load_manifest

    manifest = load_manifest(data)
    without = (images_without_labels(manifest, split) for split in ("train", "test"))
    for line in (line for line in without if line and not options.quiet):
        messages.print(f"passed over: {line}", markup=False)
    return manifest
