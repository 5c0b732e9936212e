"""Fixtures that every room shares: where the real scans and the golden values lie, and a small synthetic scan."""

import importlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medseg.cli.main import run

REQUIRE = "MEDSEG_REQUIRE_DATA"
"""Set by continuous integration where real scans are at hand: a test that lacks them is then a failure, no skip."""

REQUIRE_DISPLAY = "MEDSEG_REQUIRE_DISPLAY"

"""Set by continuous integration, which installs napari and Xvfb: a window that cannot be opened is then a failure."""

REQUIRE_COMPILER = "MEDSEG_REQUIRE_COMPILER"
"""Set by continuous integration, which installs g++: a stand-in for a GPU that cannot be built is then a failure."""

GPU = Path(__file__).parent / "gpu"

BESIDE_REPOSITORY = Path(__file__).resolve().parents[2] / "shared"


def pytest_configure() -> None:
    """The tests run side by side: one thread each, said before torch is imported.

    Text is UTF-8 in the processes that run them: Qt sets the locale of a process that opens a window, to C where the
    machine has no other. A shell starts what it leaves in the background with SIGINT ignored, which processes inherit:
    tests that interrupt would wait in vain.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("PYTHONUTF8", "1")


def _folder_from_environment(variable: str, default: Path) -> Path:
    folder = Path(os.environ.get(variable, default))
    if not folder.is_dir():
        if os.environ.get(REQUIRE):
            pytest.fail(f"{REQUIRE} is set, but {variable} names no folder ({folder.name!r} is absent)")
        pytest.skip(f"{variable} names no folder ({folder.name!r} is absent)")
    return folder


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of real scans, or a skip; mark tests that use it ``realdata``."""
    return _folder_from_environment("MEDSEG_TEST_DATA", BESIDE_REPOSITORY / "data")


@pytest.fixture(scope="session")
def test_golden() -> Path:
    """The folder of golden vectors (outputs of the authors' own programs), or a skip."""
    return _folder_from_environment("MEDSEG_TEST_GOLDEN", BESIDE_REPOSITORY / "golden")


def _lacks(reason: str) -> None:
    if os.environ.get(REQUIRE_DISPLAY):
        pytest.fail(f"{REQUIRE_DISPLAY} is set, but {reason}")
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def _clean_themes() -> None:
    """In place of a fixture of napari's pytest plugin, which would import the viewer into every test."""


@pytest.fixture(autouse=True)
def _disable_qt_warnings() -> None:
    """In place of another one."""


@pytest.fixture(scope="session")
def napari_installed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A skip where the viewer is not installed; what uses napari without a window asks for this."""
    if importlib.util.find_spec("napari") is None:
        _lacks("napari is not installed: pip install 'medseg[napari]'")
    os.environ["NAPARI_CONFIG"] = str(tmp_path_factory.mktemp("napari") / "settings.yaml")  # not the user's own


@pytest.fixture(scope="session")
def display(napari_installed: None) -> None:
    """A skip where no window can be opened: Qt would otherwise end the whole process."""
    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        _lacks("there is no display: install Xvfb and pytest-xvfb")
    try:
        importlib.import_module("qtpy.QtWidgets")
    except ImportError as error:
        _lacks(f"Qt cannot be loaded ({error}): install PySide6-Essentials and the libraries named in .ci/run")


@pytest.fixture
def write_scan() -> Callable[..., Path]:
    """A function that writes a small NIfTI scan with known values and returns its path."""

    def write(
        path: Path, *, shape: tuple[int, ...] = (6, 5, 4), affine: np.ndarray | None = None, seed: int = 0
    ) -> Path:
        values = np.random.default_rng(seed).integers(0, 1000, size=shape).astype(np.int16)
        placed = np.diag([-1.0, -1.0, 2.0, 1.0]) if affine is None else affine
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(values, placed), path)
        return path

    return write


@pytest.fixture(scope="session")
def gpu_stand_in(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function that runs a module on a GPU which is none: it refuses what a real one refuses, see ``tests/gpu``."""
    if not sys.platform.startswith("linux") or shutil.which("g++") is None:
        _lacks_compiler("there is no g++ (on Linux): apt-get install g++")
    found = importlib.util.find_spec("torch")
    torch_folder, library = Path(str(found and found.origin)).parent, tmp_path_factory.mktemp("gpu") / "stand_in.so"
    include, libraries = torch_folder / "include", torch_folder / "lib"
    words = ["-O1", "-std=c++20", "-w", "-shared", "-fPIC", f"-I{include}", f"-I{include}/torch/csrc/api/include"]
    words += [GPU / "stand_in.cpp", "-o", library, f"-L{libraries}", "-ltorch_cpu", "-ltorch", "-lc10"]
    command = ["g++", *map(str, words), f"-Wl,-rpath,{libraries}"]
    built = subprocess.run(command, check=False, capture_output=True, text=True)
    if built.returncode:
        _lacks_compiler(f"the stand-in for a GPU cannot be built: {built.stderr.splitlines()[0]}")

    def run(*words: object, limit_mb: float | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        if limit_mb is not None:
            environment["STAND_IN_LIMIT"] = str(int(limit_mb * 1e6))
        command = [sys.executable, "-W", "ignore", str(GPU / "stand_in.py"), str(library), *map(str, words)]
        return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)

    return run


def _lacks_compiler(reason: str) -> None:
    if os.environ.get(REQUIRE_COMPILER):
        pytest.fail(f"{REQUIRE_COMPILER} is set, but {reason}")
    pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses real scans, golden values or windows says so by its marker, without being told."""
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        if {"test_data", "test_golden"} & used:
            item.add_marker(pytest.mark.realdata)
        if "display" in used:
            item.add_marker(pytest.mark.display)


@pytest.fixture
def full_disk() -> Iterator[None]:
    """A disk that takes no more than 20 kB a file, which fails a write as a full one does."""
    resource = pytest.importorskip("resource", reason="limits of file size are set by POSIX means")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@dataclass
class Publisher:
    """A server on this machine: what it hands out by path, where it breaks off, and what it was asked for."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    knows_ranges: bool = True
    breaks_off_after: int | None = None
    stalls_s: float = 0.0
    states_length: bool = True
    stated_length: int | None = None
    moved: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    """A server that publishes ``files``, and can go on where a transfer broke off."""
    state = Publisher()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range") if state.knows_ranges else None
            state.requests.append((self.path, self.headers.get("Range")))
            body = state.files.get(self.path)
            if self.path in state.moved:
                self.send_response(302)
                self.send_header("Location", state.moved[self.path])
                self.end_headers()
                return
            if body is None:
                self.send_error(404)
                return
            begin = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
            if wanted and begin >= len(body):
                self.send_error(416)
                return
            self.send_response(206 if wanted else 200)
            if state.states_length:
                self.send_header("Content-Length", str(state.stated_length or len(body) - begin))
            self.end_headers()
            self.wfile.write(body[begin:][: state.breaks_off_after])
            self.wfile.flush()
            time.sleep(state.stalls_s)

        def log_message(self, *words: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        state.url = f"http://127.0.0.1:{listening.server_address[1]}"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield state
        listening.shutdown()
        thread.join()


@dataclass(frozen=True)
class Outcome:
    """How a call of the command ended."""

    exit_code: int
    out: str
    err: str

    @property
    def error_lines(self) -> list[str]:
        """The lines on stderr that begin with ``error:``."""
        return [line for line in self.err.splitlines() if line.startswith("error:")]


@pytest.fixture
def medseg_command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """The ``medseg`` command in this process: called with its words, returns how it ended."""

    def call(*words: object) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            run([str(word) for word in words])
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return call
