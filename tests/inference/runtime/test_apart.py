"""A compiler in a process of its own: what crashes, hangs or refuses there is one line here, and is remembered."""

import os
import subprocess
import sys
import time

import pytest
import torch
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import UNet

from medseg.errors import SettingsError
from medseg.inference import WindowRuntime
from medseg.inference.runtime import apart, openvino
from medseg.inference.runtime.apart import NotCompiledError, compiled_apart
from medseg.inference.runtime.openvino_worker import Order

pytest.importorskip("openvino")

ORDER = Order(model="none.xml", window="", answer="", folder="", precision="float32", n_threads=1)
WINDOWS = SlidingWindowInferer(roi_size=(16, 16, 16))

CRASHES = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
HANGS = "import time; time.sleep(600)"
CRASHES_OVER_KNOWN_SIZES = f"""
import json, os, runpy, signal, sys
order = json.loads(sys.argv[1])
if not order["window"] and order["model"].endswith("model.xml"):
    os.kill(os.getpid(), signal.SIGSEGV)
runpy.run_path({str(apart.WORKER)!r}, run_name="__main__")
"""


@pytest.fixture
def runtime(tmp_path):
    """A function that makes the runtime of a small network; all share one cache."""
    torch.manual_seed(0)
    network = UNet(3, 1, 3, channels=(4, 8), strides=(2,)).eval()

    def make(name: str) -> WindowRuntime:
        return WindowRuntime(network, name=name, key="unet", device=torch.device("cpu"), cache=tmp_path / "cache")

    return make


@pytest.fixture
def worker_is(tmp_path, monkeypatch):
    """A function that puts another program in the place of the worker."""

    def put(program: str) -> None:
        path = tmp_path / "worker.py"
        path.write_text(program)
        monkeypatch.setattr(apart, "WORKER", path)

    return put


def compute(runtime: WindowRuntime) -> torch.nn.Module:
    return runtime.network_for(WINDOWS, (1, 16, 16, 16), n_windows=2000)


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_a_crash_of_the_compiler_leaves_the_run_to_torch_and_is_remembered(runtime, worker_is):
    worker_is(CRASHES)
    first = runtime("auto")
    assert isinstance(compute(first), UNet)
    assert first.choice.reason == "openvino was refused: its compiler crashed (SIGSEGV)"
    assert first.choice.is_news

    worker_is("raise SystemExit('started again')")
    second = runtime("auto")
    assert isinstance(compute(second), UNet)
    assert second.choice.reason == f"{first.choice.reason}; it is tried again with --runtime openvino"


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_a_model_whose_known_sizes_crash_the_compiler_is_compiled_with_open_ones(runtime, worker_is):
    worker_is(CRASHES_OVER_KNOWN_SIZES)
    first = runtime("auto")
    computing = compute(first)
    assert first.choice.name == "openvino"
    assert first.choice.proof.is_passed
    worker_is("raise SystemExit('started again')")
    window = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    again = runtime("auto")
    assert torch.equal(compute(again)(window), computing(window))
    assert again.choice.name == "openvino"


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_what_was_refused_is_tried_again_when_asked_for(runtime, worker_is, monkeypatch):
    worker_is(CRASHES)
    compute(runtime("auto"))
    with pytest.raises(SettingsError, match=r"cannot be used for this network \(its compiler crashed \(SIGSEGV\)\)"):
        compute(runtime("openvino"))
    monkeypatch.undo()
    compute(runtime("openvino"))
    again = runtime("auto")
    assert not isinstance(compute(again), UNet)
    assert again.choice.name == "openvino"


def test_a_compiler_that_does_not_end_is_ended(runtime, worker_is, monkeypatch, tmp_path):
    worker_is(HANGS)
    monkeypatch.setattr(openvino, "LIMIT_S", 0.5)
    monkeypatch.setattr(openvino, "LIMIT_SHARE", 0.0)
    started = []
    popen = subprocess.Popen
    monkeypatch.setattr(subprocess, "Popen", lambda *words, **how: started.append(popen(*words, **how)) or started[-1])
    hanging = runtime("auto")
    began = time.monotonic()
    assert isinstance(compute(hanging), UNet)
    assert time.monotonic() - began < 60
    assert hanging.choice.reason == "openvino was refused: its compiler took more than 0 s"
    assert started[0].poll() is not None
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".json"]


@pytest.mark.skipif(os.name != "posix", reason="signals are POSIX")
def test_an_end_from_outside_is_not_remembered(runtime, worker_is, tmp_path):
    worker_is(CRASHES.replace("SIGSEGV", "SIGKILL"))
    killed = runtime("auto")
    assert isinstance(compute(killed), UNet)
    assert "SIGKILL" in killed.choice.reason
    assert not list((tmp_path / "cache").iterdir())


def test_the_worker_says_in_one_line_what_it_cannot_do(tmp_path):
    with (
        pytest.raises(NotCompiledError, match=r"^\w+: .*none\.xml") as found,
        compiled_apart(ORDER, folder=tmp_path, limit_s=60),
    ):
        pass
    assert found.value.is_lasting
    assert "\n" not in str(found.value)


def test_a_failure_here_ends_the_worker(tmp_path, worker_is):
    worker_is(HANGS)
    began = time.monotonic()
    with pytest.raises(ZeroDivisionError), compiled_apart(ORDER, folder=tmp_path, limit_s=60):
        raise ZeroDivisionError
    assert time.monotonic() - began < 30


def test_the_worker_imports_nothing_of_this_package():
    words = "import sys, runpy; runpy.run_path(sys.argv[1]); print([n for n in sys.modules if n.startswith('medseg')])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", words, str(apart.WORKER)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
