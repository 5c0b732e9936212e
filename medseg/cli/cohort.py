"""Running a bundle over the cases of one call, with progress bars; a case that fails does not stop the others."""

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from rich.progress import Progress, TaskID

from medseg.bundle import Bundle, CaseResult, OutputPaths, Runner, run_cases
from medseg.cli.console import messages, progress_bars
from medseg.cli.context import GlobalOptions
from medseg.errors import MedsegError
from medseg.inference import Stages, keep_memory_of_windows
from medseg.io import CaseFiles, FailedCase

__all__ = ["CohortOutcome", "run_cohort", "shown_stages"]


@dataclass(frozen=True)
class CohortOutcome:
    """What became of the cases; ``exit_code`` is that of the first failure, 0 without one.

    ``kept`` are the cases that an earlier call had done.
    """

    results: tuple[CaseResult, ...]
    failures: tuple[FailedCase, ...]
    exit_code: int
    kept: tuple[str, ...] = ()


def run_cohort(
    bundle: Bundle,
    cases: Sequence[CaseFiles],
    planned: Mapping[str, OutputPaths],
    *,
    device: torch.device,
    runtime: str,
    overwrite: bool,
    options: GlobalOptions,
    others: Sequence[Bundle] = (),
    mirror: bool = False,
    resume: bool = False,
) -> CohortOutcome:
    """Every case through one loaded model, or several that are averaged.

    Args:
        resume: leave the results of an earlier call that are whole and came of the same scan, models and options;
            whatever else lies in their places is replaced.

    Raises:
        SettingsError: the runtime is not there; no case was run.
        BundleError: the model cannot be loaded; no case was run.
    """
    keep_memory_of_windows()
    results: list[CaseResult] = []
    failures: list[FailedCase] = []
    exit_code = 0
    told = None
    with progress_bars(shown=not options.quiet) as progress:
        loading = progress.add_task(f"loading {bundle.name}", total=1)
        runner = Runner(bundle, device=device, runtime=runtime, others=others, mirror=mirror)
        progress.remove_task(loading)
        every = progress.add_task("cases", total=len(cases))
        kept = [case.case_id for case in cases if resume and _has_done(runner, case, planned[case.case_id])]
        progress.advance(every, len(kept))
        ends = run_cases(
            runner,
            [case for case in cases if case.case_id not in kept],
            planned,
            overwrite=overwrite or resume,
            stages_of=lambda case: shown_stages(progress, case.case_id),
        )
        for end in ends:
            case_id = end.case.case_id
            if end.result is not None:
                results.append(end.result)
            elif isinstance(end.error, MedsegError):
                failures.append(FailedCase(case_id, str(end.error)))
                exit_code = exit_code or end.error.exit_code
            elif end.error is not None:
                if options.debug:
                    traceback.print_exception(end.error)
                failures.append(FailedCase(case_id, f"unexpected {type(end.error).__name__}: {end.error}"))
                exit_code = exit_code or 1
            told = _tell_runtime(runner, told, shown=not options.quiet)
            progress.advance(every)
    return CohortOutcome(tuple(results), tuple(failures), exit_code, tuple(kept))


def _has_done(runner: Runner, case: CaseFiles, files: OutputPaths) -> bool:
    try:
        return runner.has_done(case, files)
    except (MedsegError, OSError):  # the run itself says what is wrong with the scan
        return False


def _tell_runtime(runner: Runner, told: str | None, *, shown: bool) -> str | None:
    """Say once what computed the windows, where it is not simply what was asked for; returns what was said."""
    choice = runner.segmenter.runtime.choice if runner.segmenter.runtime else None
    if choice is None or not choice.is_news or not shown:
        return told
    precision = f", {choice.proof.precision}" if choice.proof and choice.name != "torch" else ""
    line = f"computed by {choice.name}{precision}: {choice.reason}"
    if line != told:
        messages.print(line, markup=False)
    return line


def shown_stages(progress: Progress, case_id: str) -> Stages:
    """Bars for the stage and the windows of one case."""

    shown: list[TaskID] = []  # one inside another; a case has one stage at a time

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        shown.append(progress.add_task(f"{case_id}: {stage}", total=1))
        try:
            yield
        finally:
            progress.remove_task(shown.pop())

    def windows(done: int, total: int) -> None:
        progress.update(shown[-1], total=total, completed=done)

    return Stages(timed=timed, windows=windows)
