from pathlib import Path

import numpy as np
import pytest
import torch

from medseg.bundle import load_bundle
from medseg.io import CaseFiles, ChannelFile, read_labels
from medseg.review.background import StoppedError
from medseg.review.segmenting import SegmentationJob, Watcher


@pytest.fixture
def job(test_data: Path, tmp_path: Path) -> SegmentationJob:
    scans = sorted((test_data).rglob("hippocampus_*.nii.gz"))
    scan = next(path for path in scans if "imagesTr" in path.parts)
    bundle = load_bundle("dformer_hippocampus")
    case = CaseFiles("case", (ChannelFile(bundle.channels[0].name, scan),))
    labels = tmp_path / "proposals" / "case.nii.gz"
    return SegmentationJob(bundle, case, labels=labels, device=torch.device("cpu"), runtime="torch")


def test_a_plan_says_what_the_run_will_take_and_writes_nothing(job):
    plan = job.plan()
    assert plan.n_windows is not None
    assert plan.n_windows > 0
    assert plan.ram_mb > 0
    assert not job.files.labels.parent.exists()


def test_a_run_is_watched_by_windows_and_planes_and_gives_the_files_of_the_command_line(job):
    windows, planes = [], []
    result = job.run(
        Watcher(
            windows=lambda done, total: windows.append((done, total)),
            preview=lambda axis, first, found: planes.append((axis, first, found)),
        )
    )
    assert windows[-1][0] == windows[-1][1] > 0
    shown = np.zeros_like(result.segmentation.labels)
    for axis, first, found in planes:
        np.moveaxis(shown, axis, 0)[first : first + found.shape[axis]] = np.moveaxis(found, axis, 0)
    agreement = (shown == result.segmentation.labels).mean()
    assert agreement > 0.99  # the preview lacks the cleaning of small pieces only
    np.testing.assert_array_equal(read_labels(job.files.labels)[0].numpy(), result.segmentation.labels)
    assert all(path.exists() for path in job.files.all)


def test_a_run_that_is_stopped_ends_at_the_next_window_and_leaves_nothing(job):
    seen = []

    def stop_after_the_first(done: int, total: int) -> None:
        seen.append(done)
        job.stop()

    with pytest.raises(StoppedError):
        job.run(Watcher(windows=stop_after_the_first))
    assert job.is_stopped
    assert len(seen) == 1
    assert not any(job.files.labels.parent.iterdir())
