"""One session at a time: a lock is taken by one, refused to the others, and outlives no session that broke off."""

import json
import multiprocessing
import os
import signal

import psutil
import pytest

from medseg.errors import LockedError, OutputError
from medseg.record import WorkLock, holder_of


@pytest.fixture
def path(tmp_path):
    return tmp_path / "locks" / "case_1.lock"


def silence(path, seconds):
    """The lock as if its last beat were some time ago."""
    beat = path.stat().st_mtime - seconds
    os.utime(path, (beat, beat))


def test_a_case_that_is_open_is_refused_with_who_and_since_when(path):
    first = WorkLock.acquire(path, owner="reader 1")
    with pytest.raises(
        LockedError, match=rf"reader 1 has this case open since {first.holder.since_utc:%Y-%m-%d %H:%M}"
    ):
        WorkLock.acquire(path, owner="reader 2")
    assert holder_of(path).owner == "reader 1"


def test_a_released_case_is_free(path):
    WorkLock.acquire(path, owner="reader 1").release()
    assert holder_of(path) is None
    assert WorkLock.acquire(path, owner="reader 2").taken_from is None


def test_a_lock_that_has_gone_silent_is_taken_over_and_the_taker_is_told(path):
    lost = WorkLock.acquire(path, owner="reader 1")
    silence(path, 601)
    assert holder_of(path) is None
    taken = WorkLock.acquire(path, owner="reader 2")
    assert taken.taken_from.owner == "reader 1"
    assert taken.taken_from.silent_s >= 601
    with pytest.raises(LockedError, match="silent for too long, and reader 2 has this case"):
        lost.renew()
    lost.release()
    assert holder_of(path).owner == "reader 2"


def test_a_beat_keeps_the_lock_alive(path):
    lock = WorkLock.acquire(path, owner="reader 1")
    silence(path, 500)
    lock.renew()
    assert holder_of(path).silent_s < 100
    silence(path, 599)
    with pytest.raises(LockedError):
        WorkLock.acquire(path, owner="reader 2")


def test_a_lock_of_a_clock_that_is_ahead_is_alive(path):
    WorkLock.acquire(path, owner="reader 1")
    silence(path, -3600)
    assert holder_of(path).silent_s == 0


def test_somebody_who_broke_off_gets_their_own_case_back_at_once(path):
    WorkLock.acquire(path, owner="reader 1")
    with pytest.raises(LockedError):
        WorkLock.acquire(path, owner="reader 1")
    assert WorkLock.acquire_own(path, owner="reader 1").taken_from.owner == "reader 1"
    with pytest.raises(LockedError):
        WorkLock.acquire_own(path, owner="reader 2")


def test_a_lock_that_is_gone_cannot_be_renewed(path):
    lock = WorkLock.acquire(path, owner="reader 1")
    path.unlink()
    with pytest.raises(LockedError, match="is gone"):
        lock.renew()
    lock.release()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"owner": ""}', b"\xff\xfe"])
def test_a_damaged_lock_is_held_by_somebody_until_it_goes_silent(path, content):
    WorkLock.acquire(path, owner="reader 1")
    path.write_bytes(content)
    with pytest.raises(LockedError, match="somebody has this case"):
        WorkLock.acquire(path, owner="reader 2")
    silence(path, 601)
    assert WorkLock.acquire(path, owner="reader 2").taken_from.owner == "somebody"


def test_a_lock_names_no_computer(path):
    lock = WorkLock.acquire(path, owner="reader 1")
    content = path.read_text()
    assert os.uname().nodename not in content
    assert lock.holder.process.number == os.getpid()


def test_a_folder_that_cannot_be_made_is_an_error_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="check its folder"):
        WorkLock.acquire(tmp_path / "file" / "a.lock", owner="reader 1")


def _race(path, name, start, end, results):
    start.wait()
    try:
        WorkLock.acquire(path, owner=name)
    except LockedError:
        results.put(None)
    else:
        results.put(name)
    end.wait()  # the lock of a process that has ended is free


@pytest.mark.parametrize("is_stale", [False, True])
def test_of_processes_that_ask_at_once_exactly_one_gets_the_case(tmp_path, is_stale):
    context = multiprocessing.get_context("fork")
    for turn in range(10):
        path = tmp_path / f"{turn}.lock"
        if is_stale:
            WorkLock.acquire(path, owner="gone")
            silence(path, 1000)
        start, end, results = context.Event(), context.Event(), context.Queue()
        racers = [context.Process(target=_race, args=(path, f"reader {n}", start, end, results)) for n in range(4)]
        for racer in racers:
            racer.start()
        start.set()
        won = [results.get(timeout=60) for _ in racers]
        winners = [name for name in won if name]
        assert winners == [holder_of(path).owner]
        end.set()
        for racer in racers:
            racer.join()


def _hold(path, told):
    WorkLock.acquire(path, owner="reader 1")
    os.write(told, b"!")
    signal.pause()


@pytest.fixture
def killed(path):
    """The number of a process that took the lock and was killed."""
    told, tell = os.pipe()
    child = multiprocessing.get_context("fork").Process(target=_hold, args=(path, tell))
    child.start()
    assert os.read(told, 1) == b"!"
    with pytest.raises(LockedError):
        WorkLock.acquire(path, owner="reader 2")
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    return child.pid


def test_the_lock_of_a_killed_session_is_free_at_once(path, killed):
    assert holder_of(path) is None
    assert WorkLock.acquire(path, owner="reader 2").taken_from.process.number == killed


def test_the_lock_of_a_killed_session_on_another_machine_is_taken_once_it_is_silent(path, killed):
    held = json.loads(path.read_text())
    held["process"]["world"] = "0" * 16
    path.write_text(json.dumps(held))
    with pytest.raises(LockedError):
        WorkLock.acquire(path, owner="reader 2")
    silence(path, 601)
    assert WorkLock.acquire(path, owner="reader 2").taken_from.process.number == killed


def test_a_process_that_was_given_the_number_of_a_killed_one_does_not_hold_its_lock(path):
    WorkLock.acquire(path, owner="reader 1")
    held = json.loads(path.read_text())
    held["process"]["began_s"] -= 3600
    path.write_text(json.dumps(held))
    assert holder_of(path) is None


@pytest.mark.skipif(not psutil.LINUX, reason="elsewhere the start of a process does not move with the clock")
@pytest.mark.parametrize("seconds", [3600, -3600])
def test_a_live_session_keeps_its_case_when_the_clock_is_set(path, monkeypatch, seconds):
    WorkLock.acquire(path, owner="reader 1")
    started = psutil.boot_time()
    monkeypatch.setattr(psutil._pslinux, "boot_time", lambda: started + seconds)  # as the kernel states it from then on
    with pytest.raises(LockedError):
        WorkLock.acquire(path, owner="reader 2")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"\xff", None])
def test_only_a_lock_that_names_another_session_is_taken(path, content):
    lock = WorkLock.acquire(path, owner="reader 1")
    assert not lock.is_taken
    WorkLock.acquire_own(path, owner="reader 1")
    assert lock.is_taken
    path.unlink() if content is None else path.write_bytes(content)
    assert not lock.is_taken
