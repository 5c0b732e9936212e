"""The real server, killed in the middle of a training: nothing is lost but the running epoch, nothing runs on."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

ASKED = {"epochs": 400, "learning_rate": 0.001, "device": "cpu"}
PATIENCE_S = 120


def _until(is_so):
    for _ in range(PATIENCE_S * 4):
        found = is_so()
        if found:
            return found
        time.sleep(0.25)
    raise AssertionError("it did not happen in time")


@pytest.fixture(scope="module")
def place(label_server_installed, label_bundles, tmp_path_factory, write_blocks):
    """Studies, work folder and model of the servers here, and labels to accept."""
    folder = tmp_path_factory.mktemp("restart")
    for number in range(4):
        labels = folder / "labels" / f"case_{number}.nii.gz"
        write_blocks(folder / "studies" / f"case_{number}.nii.gz", seed=number, labels=labels)
    tiny = {"tiny": label_bundles["tiny"]}
    return {"studies": folder / "studies", "work_folder": folder / "work", "bundles": tiny}


@pytest.fixture
def server(place, start_label_server):
    """A server that is there for one test, unless the test kills it."""
    running = start_label_server(**place, may_be_killed=True)
    yield next(running)
    next(running, None)


def _train(server):
    """A training under way, its process and what it has said so far."""
    for number in range(4):
        name = f"case_{number}"
        server.client.save_label(name, server.studies.parent / "labels" / f"{name}.nii.gz", tag="final")
    server.client.train_start("tiny", ASKED)
    _until(lambda: "train " in " ".join(server.client.train_status().get("details") or []))
    _until(lambda: list((server.work_folder / "training" / "tiny").glob("*/checkpoint.pt")))
    (child,) = psutil.Process(server.process.pid).children()
    return child, list(server.client.train_status()["details"])


def test_a_second_server_on_the_same_work_folder_is_refused_in_one_line(server, place):
    kept = server.work_folder / "tmp" / "in_use.nii.gz"
    kept.write_bytes(b"of the first server")
    command = [sys.executable, "-m", "medseg", "--quiet", "label", "serve", str(place["bundles"]["tiny"])]
    command += ["--studies", str(place["studies"]), "--work-folder", str(place["work_folder"]), "--port", "1"]
    second = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert second.returncode == 2
    (line,) = second.stderr.strip().splitlines()
    assert f"process {server.process.pid}" in line
    assert "open since" in line
    assert kept.exists()
    assert server.client.info().models


def test_a_server_that_is_asked_to_terminate_gives_its_work_folder_back(server):
    assert (server.work_folder / "server.lock").exists()
    server.process.terminate()
    assert server.process.wait(timeout=60) == 0
    assert not (server.work_folder / "server.lock").exists()


def test_a_training_ends_with_a_killed_server_and_goes_on_under_the_next_one(server, place, start_label_server):
    child, _ = _train(server)
    server.process.kill()
    server.process.wait()
    psutil.wait_procs([child], timeout=20)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    running = start_label_server(**place)
    again = next(running)  # at once: whoever was killed holds nothing
    child, said = _train(again)
    assert any("going on with" in line for line in said)
    os.kill(child.pid, signal.SIGKILL)
    ended = _until(lambda: (task := again.client.train_status())["status"] != "RUNNING" and task)
    assert ended["status"] == "ERROR"
    _, said = _train(again)
    assert any("going on with" in line for line in said)
    again.client.train_stop()
    assert again.client.train_status()["status"] == "STOPPED"
    _until(lambda: not psutil.Process(again.process.pid).children())
    next(running, None)


def test_a_training_ends_with_a_server_that_is_stopped(server):
    child, _ = _train(server)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=60) == 0
    psutil.wait_procs([child], timeout=20)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
