"""``medseg label``: the MONAI Label server for 3D Slicer, OHIF and napari, and the versions of its models."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.console import messages, print_json, progress_bars, working
from medseg.cli.context import options_of
from medseg.cli.data_options import Data, DataRoot, manifest_of, root_of

if TYPE_CHECKING:
    from medseg.label.versions import WeightsVersions

__all__ = ["label_app"]

label_app = typer.Typer(
    help="Serve models to 3D Slicer, OHIF and napari, and learn from accepted labels.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


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
        from medseg.label.hold import held_work_folder
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
    plan = replace(plan, bundles=tuple(one.folder for one in chosen))
    with held_work_folder(plan.work_folder):
        prepare_process(plan)
        from medseg.label.server import run

        run(plan)


WorkFolder = Annotated[
    Path | None, typer.Option(help="The server's work folder; by default that of --studies.", show_default=False)
]
Studies = Annotated[str | None, typer.Option(help="The studies that the server was started with.", show_default=False)]
Model = Annotated[str, typer.Argument(metavar="BUNDLE", help="Name or folder of the model.")]


@label_app.command()
def versions(ctx: typer.Context, bundle: Model, studies: Studies = None, work_folder: WorkFolder = None) -> None:
    """List the versions of a model's weights that trainings have made, and which one is in use."""
    _show(ctx, _versions(bundle, studies, work_folder))


@label_app.command()
def promote(
    ctx: typer.Context,
    bundle: Model,
    version: Annotated[int, typer.Argument(min=0, help="Number of the version; 0 is the model as it came.")],
    studies: Studies = None,
    work_folder: WorkFolder = None,
) -> None:
    """Use a version from now on; a server that runs does so with the next scan."""
    found = _versions(bundle, studies, work_folder)
    found.promote(version)
    _show(ctx, found)


@label_app.command()
def rollback(ctx: typer.Context, bundle: Model, studies: Studies = None, work_folder: WorkFolder = None) -> None:
    """Go back to the version that was in use before."""
    found = _versions(bundle, studies, work_folder)
    found.rollback()
    _show(ctx, found)


@label_app.command()
def simulate(
    ctx: typer.Context,
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Name or folder of a model with its recipe.")],
    data: Data,
    output: Annotated[Path, typer.Option(help="Folder for the rounds, the figures and the picture.")],
    data_root: DataRoot = None,
    strategies: Annotated[str, typer.Option(help="Strategies to compare.")] = "random,entropy,diversity,cost_aware",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A number of the plan, for example --set repeats=3.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Replay active learning on a labelled data set: Dice over the number of labelled cases, for each strategy."""
    options = options_of(ctx)
    import yaml

    from medseg.bundle import choose_device, load_bundle
    from medseg.errors import SettingsError
    from medseg.label.simulate import SimulationPlan
    from medseg.label.simulate import simulate as run_simulation

    values: dict[str, object] = {"strategies": strategies.split(",")}
    for text in settings or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f"--set {text}: expected key=value.")
        values[key] = yaml.safe_load(value)
    with progress_bars(shown=not options.quiet) as progress:
        bar = progress.add_task("rounds", total=None)
        summary = run_simulation(
            load_bundle(bundle, overlays=("train",)),
            manifest_of(data, options=options),
            data_root=root_of(data, data_root),
            output=output,
            plan=SimulationPlan.from_mapping(values, source="--set"),
            device=choose_device(device),
            progress=lambda stage, done, total: progress.update(bar, completed=done, total=total, description=stage),
        )
    if options.json:
        print_json(summary)
    elif not options.quiet:
        for name, points in summary["curves"].items():
            last = points[-1]
            band = f" [{last['low']:.4f}, {last['high']:.4f}]" if last["low"] is not None else ""
            messages.print(f"{name}: Dice {last['mean']:.4f}{band} with {last['labelled']} cases", markup=False)
        messages.print(f"  {output / 'simulation.png'}", markup=False)


def _versions(bundle: str, studies: str | None, work_folder: Path | None) -> WeightsVersions:
    from medseg.bundle import load_bundle
    from medseg.errors import SettingsError
    from medseg.label.launch import is_url, work_folder_for
    from medseg.label.versions import WeightsVersions

    if work_folder is None and studies is None:
        raise SettingsError("which server's versions? Give --studies as when it was started, or its --work-folder.")
    if work_folder is None:
        work_folder = work_folder_for(str(studies) if is_url(str(studies)) else str(_folder(str(studies))))
    loaded = load_bundle(bundle)
    return WeightsVersions(work_folder / "versions" / loaded.name, own_weights=loaded.weights_path)


def _show(ctx: typer.Context, found: WeightsVersions) -> None:
    current, versions = found.current, found.all()
    if options_of(ctx).json:
        print_json({"current": current, "versions": [one.model_dump() for one in versions]})
        return
    messages.print(f"{'*' if current == 0 else ' '} 0  as it came", markup=False)
    for one in versions:
        measured = one.measured
        messages.print(
            f"{'*' if one.number == current else ' '} {one.number}  {one.created_utc}  {measured.n_train} cases, "
            f"validation Dice {measured.mean_before:.4f} before, {measured.mean_after:.4f} after",
            markup=False,
        )


def _folder(studies: str) -> Path:
    from medseg.errors import CaseError

    folder = Path(studies)
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise CaseError(f"--studies {studies}: an existing folder that can be written to, or http://…, was expected.")
    return folder.resolve()
