"""The allocator's setting: taken on glibc, declined elsewhere."""

import sys

import pytest

from medseg.inference import keep_freed_memory


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's")
def test_glibc_takes_the_setting():
    assert keep_freed_memory()


def test_other_systems_decline(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()


def test_a_c_library_without_mallopt_declines(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert not keep_freed_memory()
