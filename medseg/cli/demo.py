"""``medseg demo``: a real segmentation with no file of the user's."""

from pathlib import Path
from typing import Annotated

import typer

from medseg.cli.console import messages, print_json, progress_bars
from medseg.cli.context import GlobalOptions, options_of
from medseg.cli.ending import tidied_when_ended

__all__ = ["demo"]

BUNDLE = "swin_unetr_hippocampus"
DOWNLOADED_CASE = "hippocampus_001"


def demo(
    ctx: typer.Context,
    output: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("medseg_demo"),
    download: Annotated[
        bool, typer.Option("--download", help="Use a real scan of the Medical Segmentation Decathlon (28 MB) instead.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Segment both hippocampi of the MNI152 brain template and show what to look at."""
    options = options_of(ctx)
    if download:
        _downloaded_case(output, device, options)
    else:
        _template(output, device, options)


def _template(output: Path, device: str, options: GlobalOptions) -> None:
    from medseg.errors import SettingsError

    try:
        from medseg.bundle.demo import run_demo
    except ModuleNotFoundError as error:
        if error.name != "nilearn":
            raise
        raise SettingsError(
            "the brain template comes with nilearn, which is missing: pip install 'medseg[demo]'."
        ) from error
    from medseg.atomic import make_folder, without_empty_folders
    from medseg.bundle import Runner, choose_device, load_bundle
    from medseg.cli.cohort import shown_stages
    from medseg.inference import keep_memory_of_windows

    keep_memory_of_windows()
    with (
        tidied_when_ended(),
        without_empty_folders(output),
        progress_bars(shown=not options.quiet) as progress,
    ):
        make_folder(output)
        runner = Runner(load_bundle(BUNDLE), device=choose_device(device))
        result = run_demo(runner, output, overwrite=True, stages=shown_stages(progress, "demo"))
    if options.json:
        sides = {
            side.name: {"volume_ml": round(side.volume_ml, 3), "plausible": side.is_plausible} for side in result.sides
        }
        files = [str(path) for path in (result.scan, *result.files.all)]
        print_json({"sides": sides, "segmentation": result.segmentation.summary(), "files": files})
        return
    for side in result.sides:
        parts = ", ".join(f"{part.name.replace('_', ' ')} {part.volume_ml:.1f} mL" for part in side.parts)
        verdict = "as in a healthy adult (2 to 6 mL)" if side.is_plausible else "not plausible: please report this"
        messages.print(f"{side.name:>5} hippocampus: {side.volume_ml:.1f} mL ({parts}), {verdict}")
    messages.print(
        f"Open {result.files.picture}: the anterior part (orange) should lie in front of the posterior part (blue), "
        "on both sides, below the ventricles.",
        markup=False,
    )
    messages.print(
        f"Lay {result.files.labels.name} over {result.scan.name} in any viewer to walk through it.", markup=False
    )


def _downloaded_case(output: Path, device: str, options: GlobalOptions) -> None:
    from medseg.bundle import choose_device, load_bundle, plan_outputs
    from medseg.cli.cohort import run_cohort
    from medseg.cli.segment import report_outcome
    from medseg.data import fetch_case, load_manifest
    from medseg.io import CaseFiles, ChannelFile

    bundle = load_bundle(BUNDLE)
    chosen = choose_device(device)
    with progress_bars(shown=not options.quiet) as progress:
        task = progress.add_task("fetch scan", total=None)
        image, _ = fetch_case(
            load_manifest("msd_hippocampus"),
            DOWNLOADED_CASE,
            output / "data",
            on_bytes=lambda done, total: progress.update(task, completed=done, total=total or None),
        )
    case = CaseFiles(DOWNLOADED_CASE, (ChannelFile(bundle.channels[0].name, image),))
    planned = plan_outputs([case], output, overwrite=True)
    outcome = run_cohort(bundle, [case], planned, device=chosen, runtime="torch", overwrite=True, options=options)
    report_outcome(outcome, unresolved=[], options=options)
