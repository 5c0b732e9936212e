"""``medseg label``: the MONAI Label server for 3D Slicer, OHIF and napari, and the versions of its models."""

import os
from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.console import messages, working
from medseg.cli.context import options_of

__all__ = ["label_app"]

label_app = typer.Typer(help="Serve models to 3D Slicer, OHIF and napari, and learn from accepted labels.")


@label_app.command()
def serve(
    ctx: typer.Context,
    studies: Annotated[str, typer.Option(help="Folder of scans, or address of a DICOMweb server.")],
    bundles: Annotated[
        list[str] | None, typer.Argument(metavar="[BUNDLE]...", help="Models to offer; by default all with weights.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; others than this machine's need --token.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at.")] = 8000,
    token: Annotated[
        str | None, typer.Option(envvar="MEDSEG_LABEL_TOKEN", help="Secret that clients must send.", show_envvar=True)
    ] = None,
    work_folder: Annotated[
        Path | None, typer.Option(help="Folder for versions of models, scores, trainings and logs.")
    ] = None,
    runtime: Annotated[str, typer.Option(help="What computes, as in medseg segment.")] = "auto",
) -> None:
    """Start the server; stop it with Ctrl-C. Whatever was accepted, trained or scored is there when it starts again."""
    options = options_of(ctx)
    from medseg.label.installation import check_installation

    check_installation()
    with working("loading medseg", shown=not options.quiet):
        from medseg.label.launch import ServerPlan, choose_bundles, is_url, prepare_process, work_folder_for

    plan_studies = studies if is_url(studies) else str(_folder(studies))
    plan = ServerPlan(
        studies=plan_studies,
        bundles=(),
        work_folder=(work_folder or work_folder_for(plan_studies)).resolve(),
        host=host,
        port=port,
        token=token,
        runtime=runtime,
    )
    chosen, skipped = choose_bundles(bundles or [])
    if not options.quiet:
        for one in skipped:
            messages.print(f"not offered: {one.name}: {one.reason}", markup=False)
        messages.print(f"models: {', '.join(one.name for one in chosen) or 'none'}", markup=False)
        messages.print(f"work folder: {plan.work_folder}", markup=False)
        messages.print(f"listening at http://{host}:{port} when ready; OHIF at /ohif/", markup=False)
    from dataclasses import replace

    plan = replace(plan, bundles=tuple(one.folder for one in chosen))
    prepare_process(plan)
    from medseg.label.server import run

    run(plan)


def _folder(studies: str) -> Path:
    from medseg.errors import CaseError

    folder = Path(studies)
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise CaseError(f"--studies {studies}: an existing folder that can be written to, or http://…, was expected.")
    return folder.resolve()
