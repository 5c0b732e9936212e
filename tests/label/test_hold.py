"""One server a work folder, and nothing that outlives its server."""

import os
import platform
import signal
import subprocess
import sys
import time

import pytest

from medseg.errors import LockedError, OutputError
from medseg.label import hold
from medseg.label.hold import LOCK_NAME, held_work_folder
from medseg.record import WorkLock, holder_of

SERVING = """
import time
from medseg.record import ProcessMark
print(ProcessMark.of_this_process().model_dump_json(), flush=True)
time.sleep(120)
"""

ENDING = """
import sys, time
from medseg.label.hold import end_with
from medseg.record import ProcessMark
end_with(ProcessMark.model_validate_json(sys.argv[1]))
print("working", flush=True)
time.sleep(120)
"""


def test_a_folder_that_is_held_is_refused_with_who_where_and_since_when(tmp_path):
    folder = tmp_path / "work"
    with held_work_folder(folder):
        with (
            pytest.raises(LockedError, match=r"on .* has the work folder .* open since \d{4}-") as refused,
            held_work_folder(folder),
        ):
            pass
        assert platform.node() in str(refused.value)
        assert "\n" not in str(refused.value)
        assert refused.value.exit_code == 2
    with held_work_folder(folder):
        assert holder_of(folder / LOCK_NAME).process.number == os.getpid()
    assert not (folder / LOCK_NAME).exists()


def test_a_folder_that_cannot_be_made_says_which_option_chooses_another(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="--work-folder"), held_work_folder(tmp_path / "file" / "work"):
        pass


def test_a_server_whose_folder_was_taken_over_while_it_slept_stops(tmp_path, monkeypatch):
    monkeypatch.setattr(hold, "BEAT_S", 0.05)
    with pytest.raises(KeyboardInterrupt), held_work_folder(tmp_path):
        (tmp_path / LOCK_NAME).unlink()
        WorkLock.acquire(tmp_path / LOCK_NAME, owner="another server")
        time.sleep(20)
    assert holder_of(tmp_path / LOCK_NAME).owner == "another server"


def test_a_held_folder_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(hold, "BEAT_S", 0.05)
    with held_work_folder(tmp_path):
        os.utime(tmp_path / LOCK_NAME, (1, 1))
        for _ in range(100):
            if (tmp_path / LOCK_NAME).stat().st_mtime > 1:
                break
            time.sleep(0.05)
        assert holder_of(tmp_path / LOCK_NAME) is not None


def test_a_process_ends_with_the_server_that_started_it():
    server = subprocess.Popen([sys.executable, "-c", SERVING], stdout=subprocess.PIPE)
    mark = server.stdout.readline()
    child = subprocess.Popen([sys.executable, "-c", ENDING, mark], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"working\n"
    assert child.poll() is None
    server.send_signal(signal.SIGKILL)
    server.wait()
    assert child.wait(timeout=20) == 1
    server.stdout.close()
    child.stdout.close()
