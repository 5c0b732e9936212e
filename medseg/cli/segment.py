"""``medseg segment``: scans → labels on their own grids, with record, picture and statistics beside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medseg.cli.console import error_line, messages, print_json, working
from medseg.cli.context import GlobalOptions, options_of
from medseg.cli.ending import tidied_when_ended
from medseg.cli.loading import are_brought_along, import_monai_alone, without_garbage_collection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from medseg.bundle import Bundle, CaseResult
    from medseg.cli.cohort import CohortOutcome
    from medseg.io import CaseFiles, FailedCase

__all__ = ["report_outcome", "segment", "show_results"]

ALSO = {
    "mirror": "average the scan and its mirror images",
    "uncertainty": "write maps and the interval of each volume",
    "probabilities": "write those of every label",
}
"""What can be asked for besides the labels, and what it does."""

SHOWN_NAMES = 5
"""File names spelled out in one line; the rest are counted."""


def segment(
    ctx: typer.Context,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Scans, folders of scans, DICOM folders, or CHANNEL=PATH for one case."
        ),
    ],
    bundle: Annotated[
        list[str], typer.Option(help="Name or folder of the model; see: medseg bundle list. Several are averaged.")
    ],
    output: Annotated[Path, typer.Option(help="A label file (.nii.gz, .nrrd, .seg.nrrd, .mha) or a folder.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    runtime: Annotated[
        str, typer.Option(help="What computes: auto, torch, openvino or onnx; auto takes the best that is installed.")
    ] = "auto",
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what each case will take (windows, time, memory), and do nothing.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace results that exist.")] = False,
    weights: Annotated[
        list[Path] | None,
        typer.Option(help="Weights in place of the model's own (.safetensors, .pt, .pth). Several are averaged."),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option("--also", help=f"Any of {', '.join(ALSO)}: {'; '.join(ALSO.values())}."),
    ] = None,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", hidden=True, help="Short for --also uncertainty.")
    ] = False,
    resume: Annotated[  # hidden: whoever finds results in the way is told of it
        bool,
        typer.Option("--resume", hidden=True, help="Keep results that are whole and would come out the same."),
    ] = False,
    trust: Annotated[  # hidden: whoever needs it is told the whole option, with the digest
        str | None,
        typer.Option(hidden=True, metavar="SHA256", help="Vouch for a model of others, by the digest medseg names."),
    ] = None,
) -> None:
    """Segment one scan, several, or a folder of cases with one model, or with several that are averaged."""
    options = options_of(ctx)
    with working("loading medseg", shown=not options.quiet), without_garbage_collection():
        if are_brought_along(bundle):
            import_monai_alone()
        from medseg.atomic import without_empty_folders
        from medseg.bundle import Extras, choose_device, plan_outputs
        from medseg.cli.cohort import run_cohort
        from medseg.cli.plan import show_plan
        from medseg.errors import CaseError
        from medseg.io import CaseFiles, resolve_cases, unread_files

    wanted = _wanted([*(also or []), *(["uncertainty"] if uncertainty else [])])
    loaded, *others = _models(bundle, weights or [], trust=trust)
    chosen = choose_device(device)
    resolved = resolve_cases(inputs, channels=loaded.channel_specs)
    cases = [case for case in resolved if isinstance(case, CaseFiles)]
    unresolved = [case for case in resolved if not isinstance(case, CaseFiles)]
    if not cases:
        raise CaseError(unresolved[0].message if unresolved else "no scan was found in what was given.")
    extras = Extras(uncertainty="uncertainty" in wanted, probabilities="probabilities" in wanted)
    mirror = "mirror" in wanted
    if plan:
        with tidied_when_ended():
            failed = show_plan(
                [loaded, *others], cases, device=chosen, runtime=runtime, mirror=mirror, extras=extras, options=options
            )
        failures = [*unresolved, *failed]
        for failure in failures:
            error_line(f"{failure.case_id}: {failure.message}")
        if failures:
            raise typer.Exit(1)
        return
    with tidied_when_ended(), without_empty_folders(output):
        planned = plan_outputs(cases, output, overwrite=overwrite or resume, extras=extras)
        if not options.quiet:
            _show_channels(cases)
            _show_passed_over(unread_files([given for given in inputs if "=" not in given]))
        outcome = run_cohort(
            loaded,
            cases,
            planned,
            device=chosen,
            runtime=runtime,
            overwrite=overwrite,
            options=options,
            others=others,
            mirror=mirror,
            resume=resume,
        )
    report_outcome(outcome, unresolved=unresolved, options=options)


def _wanted(asked: Sequence[str]) -> frozenset[str]:
    """What is wanted besides the labels.

    Raises:
        SettingsError: something unknown.
    """
    from medseg.errors import SettingsError

    words = [word.strip() for entry in asked for word in entry.split(",")]
    unknown = [word for word in words if word not in ALSO]
    if unknown:
        raise SettingsError(f"--also {unknown[0]}: expected any of {', '.join(ALSO)}.")
    return frozenset(words)


def _models(bundles: Sequence[str], weights: Sequence[Path], *, trust: str | None) -> list[Bundle]:
    """Every model with its weights: its own, or those given for it; several weights of one model are several models.

    Raises:
        SettingsError: there are several models and another number of weights.
    """
    from medseg.bundle import load_bundle
    from medseg.errors import SettingsError

    loaded = [load_bundle(name, trust=trust) for name in bundles]
    if not weights:
        return loaded
    if len(loaded) == 1:
        loaded *= len(weights)
    if len(loaded) != len(weights):
        raise SettingsError(
            f"{len(bundles)} models and {len(weights)} weights: give one file for each model, in their order."
        )
    return [replace(one, weights=path) for one, path in zip(loaded, weights, strict=True)]


def report_outcome(outcome: CohortOutcome, *, unresolved: Sequence[FailedCase], options: GlobalOptions) -> None:
    """Say what was done and what failed, and leave with the exit code that this calls for."""
    failures = [*unresolved, *outcome.failures]
    count = len(outcome.kept) + len(outcome.results) + len(failures)
    for failure in failures:
        error_line(failure.message if count == 1 else f"{failure.case_id}: {failure.message}")
    if options.json:
        kept = ({"case_id": case_id, "status": "kept"} for case_id in outcome.kept)
        done = (result.as_json() for result in outcome.results)
        print_json([*kept, *done, *(_failure_json(entry) for entry in failures)])
    elif not options.quiet:
        if outcome.kept:
            messages.print(f"{len(outcome.kept)} of {count} cases were done before, with the same scan and model.")
        show_results(outcome.results)
    if failures:
        if count > 1:
            messages.print(f"{count - len(failures)} of {count} cases done, {len(failures)} failed.")
        raise typer.Exit(outcome.exit_code if count == 1 else 1)


def show_results(results: Sequence[CaseResult]) -> None:
    """The volumes found in each case, and where the labels lie."""
    for result in results:
        volumes = ", ".join(_volume(entry) for entry in result.segmentation.summary()["labels"])
        messages.print(f"{result.case_id}: {volumes} ({result.seconds:.1f} s)", markup=False)
        for warning in result.warnings:
            messages.print(f"  warning: {warning}", style="yellow", markup=False)
        messages.print(f"  {result.files.labels}", markup=False)
    if results:
        messages.print("Beside each label file lie its run record (.json), picture (.png) and _statistics.json.")


def _volume(entry: Mapping[str, Any]) -> str:
    interval = entry.get("volume_interval_ml")
    between = f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    return f"{entry['name']} {entry['volume_ml']:.2f} mL{between}"


def _show_channels(cases: Sequence[CaseFiles]) -> None:
    """Which file is which channel: a wrong order gives plausible and wrong labels, so it is said before the run."""
    for case in cases:
        table = ", ".join(f"{channel} = {name}" for channel, name in case.table())
        messages.print(f"{case.case_id}: {table}", markup=False)


def _show_passed_over(files: Sequence[Path]) -> None:
    """The files of a folder that were not taken for scans, so that a misspelt suffix does not lose a case silently."""
    if files:
        names = ", ".join(path.name for path in files[:SHOWN_NAMES])
        more = f" and {len(files) - SHOWN_NAMES} more" if len(files) > SHOWN_NAMES else ""
        messages.print(f"passed over, no image of a known format: {names}{more}", markup=False)


def _failure_json(failure: FailedCase) -> dict[str, Any]:
    return {"case_id": failure.case_id, "status": "failed", "error": failure.message}
