"""A command in a fresh process: its time, its memory, and its last words where it fails."""

import os
import signal
import threading
import time

import psutil
import pytest

from medseg import openmp
from medseg.benchmark.measure import run_process
from medseg.errors import RunError


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module that takes 200 MB and half a second of processor time, or fails when told so."""
    (tmp_path / "hungry.py").write_text(
        "import os, sys, time\n"
        "if 'fail' in sys.argv: sys.exit('there is no bread')\n"
        "block = bytearray(os.urandom(1)) * 200_000_000\n"
        "began = time.process_time()\n"
        "while time.process_time() - began < 0.5: pass\n"
        "print(os.environ['COURSE'])\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "hungry"


def test_time_and_memory_are_those_of_the_process(module):
    run, printed = run_process(module, [], environment={"COURSE": "soup"})
    assert printed == "soup\n"
    assert 0.5 <= run.cpu_s <= run.seconds + 0.5
    assert 200 <= run.peak_mb < 400


def test_a_process_that_fails_is_quoted(module):
    with pytest.raises(RunError, match="hungry failed: there is no bread"):
        run_process(module, ["fail"], environment={})


@pytest.mark.skipif(os.name != "posix", reason="groups of processes are POSIX's")
def test_whoever_is_interrupted_leaves_no_process_behind(tmp_path, monkeypatch):
    (tmp_path / "lasting.py").write_text(
        "import os, pathlib, sys, time\npathlib.Path(sys.argv[1]).write_text(str(os.getpid()))\ntime.sleep(60)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    noted = tmp_path / "pid"

    def interrupt() -> None:
        while not (noted.is_file() and noted.read_text()):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run_process("lasting", [str(noted)], environment={})
    assert not psutil.pid_exists(int(noted.read_text()))


def test_it_runs_with_the_environment_that_the_person_gave(tmp_path, monkeypatch):
    (tmp_path / "telling.py").write_text("import os\nprint(os.environ.get('GOMP_SPINCOUNT'))\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    monkeypatch.setattr(openmp, "_set_here", set())
    openmp.wait_briefly()  # as the command does that measures
    assert run_process("telling", [], environment={})[1] == "None\n"
    monkeypatch.setenv("GOMP_SPINCOUNT", "7")
    monkeypatch.setattr(openmp, "_set_here", set())
    assert run_process("telling", [], environment={})[1] == "7\n"
