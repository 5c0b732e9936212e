"""The cases of a cohort one after another, each read while the one before is computed, and written while the next is.

    read     case 1 │ case 2 │ case 3 │
    compute         │ case 1 │ case 2 │ case 3 │
    write                    │ case 1 │ case 2 │ case 3

At most one case waits at each border, so that memory holds three of them however long the cohort is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest

from medseg.bundle.outputs import OutputPaths
from medseg.bundle.runner import CaseResult, InferredCase, ReadCase, Runner
from medseg.inference import Stages
from medseg.io import CaseFiles

__all__ = ["CaseEnd", "run_cases"]


@dataclass(frozen=True, eq=False)
class CaseEnd:
    """How one case ended: with a result, or with an error."""

    case: CaseFiles
    result: CaseResult | None = None
    error: Exception | None = None


def run_cases(
    runner: Runner,
    cases: Sequence[CaseFiles],
    planned: Mapping[str, OutputPaths],
    *,
    overwrite: bool,
    stages_of: Callable[[CaseFiles], Stages] = lambda case: Stages(),
) -> Iterator[CaseEnd]:
    """Every case through one runner, in order; one that fails does not stop the others.

    Args:
        planned: where the results of each case go, by its id.
        stages_of: who listens to a case; called in the thread that asks, heard in any.
    """
    if not cases:
        return
    with ThreadPoolExecutor(1, "read") as reader, ThreadPoolExecutor(1, "write") as writer:

        def read(case: CaseFiles) -> Future[ReadCase]:
            return reader.submit(runner.read, case, stages=stages_of(case))

        try:
            coming = read(cases[0])
            under_write: tuple[CaseFiles, Future[CaseResult]] | None = None
            for case, following in zip_longest(cases, cases[1:]):
                current, error = _outcome(coming)
                if following is not None:
                    coming = read(following)
                inferred: InferredCase | None = None
                if current is not None:
                    inferred, error = _inferred(runner, current, planned[case.case_id], overwrite=overwrite)
                if under_write is not None:  # no more than one waits to be written
                    yield _end(*under_write)
                    under_write = None
                if inferred is None:
                    yield CaseEnd(case, error=error)
                else:
                    files = planned[case.case_id]
                    under_write = (case, writer.submit(runner.finish, inferred, files, overwrite=overwrite))
            if under_write is not None:
                yield _end(*under_write)
        finally:  # interrupted: what has not begun does not begin
            reader.shutdown(wait=False, cancel_futures=True)
            writer.shutdown(wait=False, cancel_futures=True)


def _inferred(
    runner: Runner, read: ReadCase, files: OutputPaths, *, overwrite: bool
) -> tuple[InferredCase | None, Exception | None]:
    try:
        return runner.infer(read, files, overwrite=overwrite), None
    except Exception as error:  # noqa: BLE001  one broken case must not cost a cohort its night
        return None, error


def _outcome(coming: Future[ReadCase]) -> tuple[ReadCase | None, Exception | None]:
    try:
        return coming.result(), None
    except Exception as error:  # noqa: BLE001  told with the case
        return None, error


def _end(case: CaseFiles, writing: Future[CaseResult]) -> CaseEnd:
    try:
        return CaseEnd(case, result=writing.result())
    except Exception as error:  # noqa: BLE001  told with the case
        return CaseEnd(case, error=error)
