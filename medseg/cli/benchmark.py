"""``medseg benchmark``: medseg and MONAI's stock path on the same scan, in turn → a table, numbers and a picture."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medseg.cli.console import messages, print_json, print_table, progress_bars
from medseg.cli.context import options_of
from medseg.cli.ending import tidied_when_ended

if TYPE_CHECKING:
    from medseg.benchmark import Comparison

__all__ = ["benchmark"]

NUMBERS = "benchmark.json"


def benchmark(
    ctx: typer.Context,
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="One case, as for medseg segment.")],
    bundle: Annotated[str, typer.Option(help="Name or folder of the model; without weights it gets random ones.")],
    output: Annotated[Path | None, typer.Option(help="Folder for benchmark.json and benchmark.png.")] = None,
    runtime: Annotated[str, typer.Option(help="What computes; several with commas between: torch,openvino.")] = "auto",
    repeats: Annotated[int, typer.Option(min=1, help="Runs of each; the medians are shown.")] = 3,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    weights: Annotated[Path | None, typer.Option(help="Weights in place of the model's own.")] = None,
    trust: Annotated[str | None, typer.Option(metavar="SHA256", help="Vouch for a model of others.")] = None,
    nnunet: Annotated[
        bool, typer.Option("--nnunet", help="Run nnU-Net's predictor too, with the same network.")
    ] = False,
) -> None:
    """Measure medseg against MONAI's stock path: whole processes in turn, same weights, same scan."""
    options = options_of(ctx)
    from medseg.atomic import atomic_write, check_target, make_folder, without_empty_folders
    from medseg.benchmark import compare, draw_comparison
    from medseg.bundle import choose_device, load_bundle
    from medseg.errors import CaseError
    from medseg.io import CaseFiles, resolve_cases

    loaded = replace(load_bundle(bundle, trust=trust), weights=weights)
    resolved = resolve_cases(inputs, channels=loaded.channel_specs)
    cases = [case for case in resolved if isinstance(case, CaseFiles)]
    if len(cases) != 1 or len(resolved) != 1:
        raise CaseError(f"{len(resolved)} cases found: the benchmark takes one.")
    with ExitStack() as stack:
        if output is not None:  # before an hour of runs, and not after it
            stack.enter_context(without_empty_folders(output))
            make_folder(output)
            check_target(output / NUMBERS, overwrite=True)
        stack.enter_context(tidied_when_ended())
        progress = stack.enter_context(progress_bars(shown=not options.quiet))
        task = progress.add_task("runs", total=None)
        comparison = compare(
            loaded,
            inputs,
            cases[0],
            runtimes=[name.strip() for name in runtime.split(",")],
            device=str(choose_device(device)),
            repeats=repeats,
            trust=trust,
            with_nnunet=nnunet,
            progress=lambda done, total: progress.update(task, completed=done, total=total),
        )
        if output is not None:
            with atomic_write(output / NUMBERS, overwrite=True) as temporary:
                temporary.write_text(json.dumps(comparison.as_json(), indent=2) + "\n", encoding="utf-8")
            draw_comparison(comparison, output / "benchmark.png", overwrite=True)
    if options.json:
        print_json(comparison.as_json())
    elif not options.quiet:
        _show(comparison)
        messages.print(
            f"{comparison.bundle_name} ({comparison.weights} weights) on {comparison.case_id}: whole processes in "
            f"turn, medians of {repeats}, {comparison.n_threads} threads, {comparison.device}.",
            markup=False,
        )


def _show(comparison: Comparison) -> None:
    """One column a road: its medians, and how many times less medseg's takes."""
    roads = [comparison.stock, *comparison.peers, *comparison.ours]
    stages = list(dict.fromkeys(stage for road in roads for stage in road.median_stages()))
    rows = [
        ["computed by", *(road.computed_by for road in roads)],
        ["whole process", *(f"{road.median('seconds'):.1f} s" for road in roads)],
        ["first use", *(f"{road.first.seconds:.1f} s" if road.first else "" for road in roads)],
    ]
    for stage in stages:
        seconds = [road.median_stages().get(stage) for road in roads]
        rows.append([f"  {stage}", *("" if value is None else f"{value:.1f} s" for value in seconds)])
    rows.append(["processor time", *(f"{road.median('cpu_s'):.1f} s" for road in roads)])
    rows.append(["memory", *(f"{road.median('peak_mb') / 1000:.2f} GB" for road in roads)])
    less = [("less time", "seconds"), ("less processor time", "cpu_s"), ("less memory", "peak_mb")]
    if comparison.is_on_gpu:
        rows.append(["memory of the GPU", *(f"{road.median('gpu_peak_mb') / 1000:.2f} GB" for road in roads)])
        less.append(("less memory of the GPU", "gpu_peak_mb"))
    for heading, measure in less:
        ratios = [comparison.ratio(road, measure) for road in roads[1:]]
        rows.append([heading, "", *("" if value is None else f"{value:.2f}×" for value in ratios)])
    rows.append(["same labels", "", *(f"{road.label_agreement:.4%}" for road in roads[1:])])
    print_table("", *(road.name for road in roads), rows=rows)
