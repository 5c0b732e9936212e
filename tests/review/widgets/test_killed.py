"""``kill -9`` of a real napari while a person paints: seconds of strokes are lost, and nothing that was accepted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from medseg.record import verify_journal
from medseg.review import ReviewFolder, ReviewSession, latest_version, worklist_from_folder
from medseg.review.autosave import labels_sha256
from medseg.review.versions import file_sha256

KILLS = int(os.environ.get("MEDSEG_KILLS", "2"))
"""Each takes about fifteen seconds; ten are made by hand."""

MOST_LOST_S = 5.0


def paint_until_killed(folder: Path, told: Path, *, after_s: float) -> float:
    """When the process was killed, ``after_s`` seconds after its first stroke."""
    script = Path(__file__).with_name("killed.py")
    with subprocess.Popen([sys.executable, str(script), str(folder), str(told)]) as process:
        until = time.monotonic() + 120
        while not (told.exists() and "stroke" in told.read_text()):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.1)
        time.sleep(after_s)
        os.kill(process.pid, signal.SIGKILL)
        killed_at = time.time()
        process.wait()
    return killed_at


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(KILLS))
def test_a_killed_viewer_loses_seconds_of_strokes_and_no_accepted_result(
    display, tmp_path, write_scan, turn, record_property
):
    from medseg.review.case_facts import to_review

    after_s = float(np.random.default_rng().uniform(0.5, 12))
    scans, told = tmp_path / "scans", tmp_path / "told"
    write_scan(scans / "case_1.nii.gz", shape=(48, 40, 30))
    killed_at = paint_until_killed(scans, told, after_s=after_s)
    lines = [line.split() for line in told.read_text().splitlines(keepends=True) if line.endswith("\n")]
    painted_at = {digest: float(when) for kind, when, digest in lines if kind == "stroke"}
    accepted = [digest for kind, _, digest in lines if kind == "accepted"]

    folder = ReviewFolder.of(scans)
    assert verify_journal(folder.journal) == []
    versions = sorted((folder.path / "versions").rglob("v*.nii.gz"))
    assert set(accepted) <= {file_sha256(path) for path in versions}
    worklist = worklist_from_folder(scans)
    (case,) = worklist.cases
    session = ReviewSession.open(to_review(case, worklist), folder=folder, reviewer="R. Eader")  # at once: nobody waits
    if accepted:
        assert latest_version(folder, case.case_id).number >= len(accepted)
    back = labels_sha256(session.editor.labels)
    session.close()
    assert verify_journal(folder.journal) == []
    first = min(painted_at.values())
    lost_s = killed_at - painted_at.get(back, first)
    record_property("lost_s", lost_s)
    print(f"killed after {after_s:.1f} s and {len(painted_at)} strokes: {lost_s:.2f} s of strokes lost")
    assert back in painted_at or killed_at - first < MOST_LOST_S
    assert lost_s < MOST_LOST_S
