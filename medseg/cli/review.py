"""``medseg review``: look at segmentations in napari, correct them, and decide."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.console import messages, working
from medseg.cli.context import options_of
from medseg.cli.data_options import DataRoot, root_of
from medseg.cli.display import check_display

if TYPE_CHECKING:
    from medseg.review import Worklist

__all__ = ["review"]


def review(
    ctx: typer.Context,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATHS]...", help="A folder of scans with or without labels, or some files of one."),
    ] = None,
    segmentations: Annotated[
        Path | None, typer.Option(help="Folder of labels to review, as medseg segment --output wrote it.")
    ] = None,
    bundle: Annotated[
        str | None, typer.Option(help="Model whose channels and labels the scans have, where no record tells.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Data manifest: its cases instead of PATHS.")] = None,
    data_root: DataRoot = None,
    server: Annotated[
        str | None, typer.Option(help="MONAI Label server whose images to review; PATHS is the folder to keep them in.")
    ] = None,
    token: Annotated[
        str | None, typer.Option(envvar="MEDSEG_LABEL_TOKEN", help="Secret of that server.", show_envvar=True)
    ] = None,
    reviewer: Annotated[
        str, typer.Option(envvar="MEDSEG_REVIEWER", help="Your name, which every decision bears.", show_envvar=True)
    ] = "",
) -> None:
    """Open napari on a worklist: correct labels, accept or reject them; every decision goes into a journal.

    The review is kept in the folder review beside the scans; see also medseg journal.
    """
    options = options_of(ctx)
    _check_window()
    with working("opening", shown=not options.quiet):
        worklist = (
            _worklist(paths or [], segmentations, bundle=bundle, data=data, data_root=data_root)
            if server is None
            else _server_worklist(server, paths or [], token=token)
        )
        import napari

        from medseg.review.widgets.window import open_review

        open_review(worklist, reviewer=reviewer)
    if worklist is not None and not options.quiet:
        messages.print(f"{worklist.progress} decided; the review is kept in {worklist.folder.path}", markup=False)
    napari.run()


def _worklist(
    paths: list[Path], segmentations: Path | None, *, bundle: str | None, data: str | None, data_root: Path | None
) -> Worklist | None:
    """The cases that were asked for; None where nothing was.

    Raises:
        MedsegError: they cannot be found.
    """
    from dataclasses import replace

    from medseg.bundle import load_bundle
    from medseg.data import load_manifest
    from medseg.errors import CaseError, SettingsError
    from medseg.review import worklist_from_files, worklist_from_folder, worklist_from_manifest

    if data is not None:
        if paths:
            raise SettingsError("PATHS and --data were given: choose one of them.")
        manifest = load_manifest(data)
        return worklist_from_manifest(manifest, root_of(data, data_root), segmentations=segmentations)
    if not paths:
        return None
    absent = next((path for path in paths if not path.exists()), None)
    if absent is not None:
        raise CaseError(f"{absent} does not exist: a folder of scans, or files of one, was expected.")
    model = load_bundle(bundle) if bundle else None
    channels = model.channel_specs if model else None
    if all(path.is_dir() for path in paths):
        if len(paths) > 1:
            raise SettingsError(
                f"{len(paths)} folders were given: a review is kept in one. Give the folder around them."
            )
        worklist = worklist_from_folder(paths[0], channels=channels, segmentations=segmentations)
    else:
        worklist = worklist_from_files(paths, channels=channels)
    return replace(worklist, label_table=model.label_table) if model else worklist


def _server_worklist(url: str, paths: list[Path], *, token: str | None) -> Worklist:
    """The images of a server.

    Raises:
        MedsegError: no folder was given, or the server does not answer.
    """
    from medseg.atomic import make_folder
    from medseg.errors import SettingsError
    from medseg.monai_label_client import MonaiLabelClient
    from medseg.review import ReviewServer

    if len(paths) != 1 or paths[0].is_file():
        raise SettingsError("--server needs one folder, in which the scans and the review are kept: give its path.")
    make_folder(paths[0])
    return ReviewServer(MonaiLabelClient(url, token=token), paths[0]).worklist()


def _check_window() -> None:
    """Nothing, if napari and a Qt are installed and a display answers.

    Raises:
        SettingsError: one of them is missing.
    """
    from importlib.util import find_spec

    from medseg.errors import SettingsError

    missing = [name for name in ("napari", "qtpy", "PySide6") if find_spec(name) is None]
    if "napari" in missing or {"qtpy", "PySide6"} <= set(missing):
        raise SettingsError("the review needs napari, which is not installed: pip install 'medseg[napari]'.")
    check_display()
