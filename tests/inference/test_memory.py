"""The allocator's setting: taken on glibc, declined elsewhere."""

import subprocess
import sys

import pytest

from medseg.inference import keep_freed_memory, keep_memory_of_windows, memory
from medseg.inference.memory import keep_only_for_torch

SCRIPT = """
import importlib.util, sys
import numpy as np

spec = importlib.util.spec_from_file_location("memory", sys.argv[1])
memory = importlib.util.module_from_spec(spec)
spec.loader.exec_module(memory)

def resident_mb():
    with open("/proc/self/statm", encoding="ascii") as stream:
        return int(stream.read().split()[1]) * 4096 / 2**20

def left_mb(before=resident_mb()):
    blocks = [np.ones(2**23) for _ in range(8)]  # 64 MiB each
    del blocks
    return resident_mb() - before

assert memory.keep_freed_memory()
kept = left_mb()
memory.keep_only_for_torch(computes=False)
returned = left_mb()
memory.keep_only_for_torch(computes=True)
kept_again = left_mb()
memory.keep_memory_of_windows()
first = left_mb()
memory.keep_only_for_torch(computes=True)
of_windows = left_mb()
memory.keep_only_for_torch(computes=False)
print(kept, returned, kept_again, first, of_windows, resident_mb())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_glibc_takes_the_setting():
    assert keep_freed_memory()
    assert keep_memory_of_windows()


def test_other_systems_decline(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
    assert not keep_memory_of_windows()


def test_a_c_library_without_mallopt_declines(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert not keep_freed_memory()
    assert not keep_memory_of_windows()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_freed_memory_goes_back_while_another_runtime_computes_and_where_windows_end():
    words = [sys.executable, "-c", SCRIPT, str(memory.__file__)]
    answer = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    kept, returned, kept_again, first, of_windows, after_windows = map(float, answer.split())
    assert kept > 400  # of 512
    assert returned < 64
    assert kept_again > 400
    assert first < 64
    assert of_windows > 400
    assert after_windows < 128  # an interpreter with numpy


def test_a_process_that_did_not_ask_keeps_its_own_setting(monkeypatch):
    monkeypatch.setattr(memory, "_asked", [])
    monkeypatch.setattr(memory, "_set", None)  # would fail
    keep_only_for_torch(computes=False)


THREADS = """
import ctypes, importlib.util, sys, threading
import numpy as np

spec = importlib.util.spec_from_file_location("memory", sys.argv[1])
memory = importlib.util.module_from_spec(spec)
spec.loader.exec_module(memory)
if sys.argv[2] == "shared":
    assert memory.keep_memory_of_windows()

held, everyone = [], threading.Barrier(4)

def take():
    everyone.wait()
    held.append([np.ones(2**13) for _ in range(100)])
    everyone.wait()

threads = [threading.Thread(target=take) for _ in range(4)]
for one in threads:
    one.start()
for one in threads:
    one.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
stream = ctypes.c_void_p(libc.fopen(sys.argv[3].encode(), b"w"))
libc.malloc_info(0, stream)
libc.fclose(stream)
with open(sys.argv[3]) as told:
    print(told.read().count("<heap nr="))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_all_threads_of_the_command_line_take_memory_from_one_place(tmp_path):
    places = {}
    for how in ("shared", "as it comes"):
        words = [sys.executable, "-c", THREADS, memory.__file__, how, str(tmp_path / "told.xml")]
        places[how] = int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    # NumPy's own threads may have a place of theirs before the setting.
    assert places["shared"] < places["as it comes"]
