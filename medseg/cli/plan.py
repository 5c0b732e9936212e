"""``medseg segment --plan``: what every case will take, as a table."""

from collections.abc import Sequence

import torch
from rich.table import Table

from medseg.bundle import Bundle, Forecast, Runner, forecast, together
from medseg.cli.console import messages, print_json, progress_bars
from medseg.cli.context import GlobalOptions
from medseg.inference import keep_freed_memory
from medseg.io import CaseFiles

__all__ = ["show_plan"]


def show_plan(
    bundles: Sequence[Bundle],
    cases: Sequence[CaseFiles],
    *,
    device: torch.device,
    runtime: str,
    mirror: bool,
    options: GlobalOptions,
) -> None:
    """Forecast every case and print the plan.

    Raises:
        MedsegError: the model cannot be loaded, or a case cannot be read.
    """
    keep_freed_memory()
    runners = [Runner(bundle, device=device, runtime=runtime, mirror=mirror) for bundle in bundles]
    with progress_bars(shown=not options.quiet) as progress:
        plans = [
            together([forecast(runner, case) for runner in runners])
            for case in progress.track(cases, description="planning")
        ]
    if options.json:
        print_json([plan.as_json() for plan in plans])
        return
    headings = ("case", "network's grid", "windows", "by", "time", "memory", "GPU memory", "disk")
    table = Table(*headings)
    for plan in plans:
        table.add_row(plan.case_id, *_cells(plan))
    messages.print(table)
    known = [plan.seconds for plan in plans if plan.seconds is not None]
    messages.print(
        f"{len(plans)} cases, about {_duration(sum(known))} for the windows of {len(known)}. Nothing was run."
    )


def _cells(plan: Forecast) -> list[str]:
    return [
        "×".join(map(str, plan.network_grid)),
        "–" if plan.n_windows is None else str(plan.n_windows),
        plan.runtime,
        "–" if plan.seconds is None else _duration(plan.seconds),
        f"{plan.ram_mb / 1000:.1f} GB",
        f"{plan.gpu_mb / 1000:.1f} GB" if plan.gpu_mb else "–",
        f"{plan.disk_mb:.0f} MB",
    ]


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
