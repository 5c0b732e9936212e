"""A cohort: cases overlap, keep their order, and a broken one stops no other."""

import json
import threading

import pytest
import torch

from medseg.bundle import OutputPaths, Runner, run_cases
from medseg.errors import MedsegError
from medseg.inference import Stages
from medseg.io import CaseFiles, ChannelFile

CPU = torch.device("cpu")


@pytest.fixture
def cohort(tmp_path, write_scan):
    """Four cases, of which the second is no image, with the paths of their results."""
    cases = []
    for number in range(4):
        path = write_scan(tmp_path / f"case_{number}.nii.gz", shape=(20, 18, 12))
        cases.append(CaseFiles(path.name.removesuffix(".nii.gz"), (ChannelFile("T1", path),)))
    cases[1].channels[0].path.write_bytes(b"no image")
    planned = {case.case_id: OutputPaths.beside(tmp_path / "out" / f"{case.case_id}.nii.gz") for case in cases}
    (tmp_path / "out").mkdir()
    return cases, planned


def test_every_case_ends_in_order_and_a_broken_one_stops_no_other(bundle, cohort):
    cases, planned = cohort
    ends = list(run_cases(Runner(bundle, device=CPU), cases, planned, overwrite=False))
    assert [end.case.case_id for end in ends] == ["case_0", "case_1", "case_2", "case_3"]
    assert isinstance(ends[1].error, MedsegError)
    assert ends[1].result is None
    for end in (ends[0], ends[2], ends[3]):
        assert end.error is None
        assert end.result.case_id == end.case.case_id
        assert json.loads(end.result.files.record.read_text())["case_id"] == end.case.case_id
        assert end.result.seconds > 0


def test_the_next_case_is_read_and_the_last_written_while_one_is_computed(bundle, cohort):
    cases, planned = cohort
    heard = []

    def stages_of(case):
        return Stages(timed=lambda stage: _Heard(heard, stage, case.case_id))

    runner = Runner(bundle, device=CPU)
    list(run_cases(runner, [cases[0], cases[2], cases[3]], planned, overwrite=False, stages_of=stages_of))
    thread_of = {(stage, case_id): thread for stage, case_id, thread in heard}
    assert thread_of["infer", "case_2"] == threading.current_thread().name
    assert thread_of["read", "case_3"].startswith("read")
    assert thread_of["write", "case_0"].startswith("write")
    # case_3 is read before case_2 is written: there is always one ahead.
    order = [(stage, case_id) for stage, case_id, _ in heard]
    assert order.index(("read", "case_3")) < order.index(("write", "case_2"))


def test_a_caller_that_stops_leaves_nothing_half_written(bundle, cohort):
    cases, planned = cohort
    ends = run_cases(Runner(bundle, device=CPU), [cases[0], cases[2], cases[3]], planned, overwrite=False)
    first = next(ends)
    ends.close()
    assert first.result.files.labels.is_file()
    folder = first.result.files.labels.parent
    for labels in folder.glob("*.nii.gz"):  # labels come last: where they are, the rest is
        assert OutputPaths.beside(labels).record.is_file()
    assert not [path for path in folder.iterdir() if path.name.startswith(".") or path.suffix == ".tmp"]


class _Heard:
    """Notes the thread in which a stage runs."""

    def __init__(self, heard, stage, case_id):
        self._entry = heard, stage, case_id

    def __enter__(self):
        heard, stage, case_id = self._entry
        heard.append((stage, case_id, threading.current_thread().name))

    def __exit__(self, *_):
        pass
