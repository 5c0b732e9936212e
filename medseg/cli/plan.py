"""``medseg segment --plan``: what every case will take, as a table."""

from collections.abc import Sequence

import torch

from medseg.bundle import Bundle, Extras, Forecast, Runner, forecast, together, with_maps
from medseg.cli.console import messages, print_json, print_table, progress_bars
from medseg.cli.context import GlobalOptions
from medseg.errors import MedsegError
from medseg.inference import MirrorInferer, keep_memory_of_windows
from medseg.io import CaseFiles, FailedCase

__all__ = ["show_plan"]


def show_plan(
    bundles: Sequence[Bundle],
    cases: Sequence[CaseFiles],
    *,
    device: torch.device,
    runtime: str,
    mirror: bool,
    extras: Extras,
    options: GlobalOptions,
) -> tuple[FailedCase, ...]:
    """Forecast every case and print the plan; the cases that would fail, and why.

    Raises:
        MedsegError: the model cannot be loaded, or the only case cannot be read.
    """
    keep_memory_of_windows()
    runners = [Runner(bundle, device=device, runtime=runtime, mirror=mirror) for bundle in bundles]
    with progress_bars(shown=not options.quiet) as progress:
        plans, failures = [], []
        for case in progress.track(cases, description="planning"):
            try:
                plan = together([forecast(runner, case, extras=extras) for runner in runners])
            except MedsegError as error:
                if len(cases) == 1:
                    raise
                failures.append(FailedCase(case.case_id, str(error)))
            else:
                n_channels = len(bundles[0].output_channels)
                plans.append(with_maps(plan, extras, n_channels=n_channels, n_passes=_n_passes(runners)))
    if options.json:
        print_json([plan.as_json() for plan in plans])
        return tuple(failures)
    if options.quiet:
        return tuple(failures)
    rows = [_cells(plan, is_gpu=any(one.gpu_mb for one in plans)) for plan in plans]
    if rows:
        print_table(*rows[0], rows=[tuple(cells.values()) for cells in rows])
    known = [plan.seconds for plan in plans if plan.seconds is not None]
    counted = "1 case" if len(plans) == 1 else f"{len(plans)} cases"
    of_all = "" if len(known) == len(plans) else f" of {len(known)}"
    messages.print(f"{counted}, about {_duration(sum(known))} for the windows{of_all}. Nothing was run.")
    return tuple(failures)


def _n_passes(runners: Sequence[Runner]) -> int:
    inferers = [runner.segmenter.inferer for runner in runners]
    return sum(inferer.n_passes if isinstance(inferer, MirrorInferer) else 1 for inferer in inferers)


def _cells(plan: Forecast, *, is_gpu: bool) -> dict[str, str]:
    """What a case will take, by heading; a GPU has a column where there is one."""
    return {
        "case": plan.case_id,
        "network's grid": "×".join(map(str, plan.network_grid)),
        "windows": "–" if plan.n_windows is None else str(plan.n_windows),
        "by": plan.runtime,
        "time": "–" if plan.seconds is None else _duration(plan.seconds),
        "memory": f"{plan.ram_mb / 1000:.1f} GB",
        **({"GPU memory": f"{plan.gpu_mb / 1000:.1f} GB" if plan.gpu_mb else "–"} if is_gpu else {}),
        "disk": f"{plan.disk_mb:.0f} MB",
    }


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
