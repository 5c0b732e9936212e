"""The allocator's setting: taken on glibc, declined elsewhere; and the pages of mapped files."""

import mmap
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.inference import keep_freed_memory, memory
from medseg.inference.memory import keep_only_for_torch, let_go_of_pages

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
print(kept, returned, left_mb())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_glibc_takes_the_setting():
    assert keep_freed_memory()


def test_other_systems_decline(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()


def test_a_c_library_without_mallopt_declines(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert not keep_freed_memory()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_freed_memory_goes_back_while_another_runtime_computes():
    words = [sys.executable, "-c", SCRIPT, str(memory.__file__)]
    answer = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    kept, returned, kept_again = map(float, answer.split())
    assert kept > 400  # of 512
    assert returned < 64
    assert kept_again > 400


def test_a_process_that_did_not_ask_keeps_its_own_setting(monkeypatch):
    monkeypatch.setattr(memory, "_asked", [])
    monkeypatch.setattr(memory, "_set", None)  # would fail
    keep_only_for_torch(computes=False)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_pages_of_mapped_files_are_let_go_and_read_again_when_needed(tmp_path):
    content = os.urandom(8 * 2**20)
    (tmp_path / "large.blob").write_bytes(content)
    (tmp_path / "other").mkdir()
    with (tmp_path / "large.blob").open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[:] == content
        before = resident_of_files()
        assert let_go_of_pages(tmp_path / "other") == 0
        assert let_go_of_pages(tmp_path) == len(content)
        assert resident_of_files() <= before - 0.9 * len(content)
        assert mapped[:] == content


def resident_of_files() -> int:
    """Bytes of files and shared memory that lie in this process's memory."""
    words = Path("/proc/self/status").read_text().split()
    return 1024 * int(words[words.index("RssFile:") + 1])
