"""``medseg train``: what it leaves behind, and how it refuses."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml

from medseg.data import load_manifest


@pytest.fixture(scope="module")
def small_manifest(tmp_path_factory, test_data):
    """Three real training cases and one for validation."""
    real = json.loads(load_manifest("msd_hippocampus").model_dump_json())
    ids = real["splits"]["train"][:4]
    real["splits"] = {"train": ids[:3], "validation": ids[3:]}
    real["cases"] = {case_id: real["cases"][case_id] for case_id in ids}
    path = tmp_path_factory.mktemp("manifest") / "small.json"
    path.write_text(json.dumps(real))
    return path


@pytest.fixture
def recipe(tiny_bundle):
    """A recipe of six steps for the tiny bundle."""
    whole = tiny_bundle.parents[0] / "recipe"
    if not whole.exists():
        import shutil

        shutil.copytree(tiny_bundle, whole)
        path = whole / "configs" / "train.yaml"
        config = yaml.safe_load(path.read_text())
        config["training"] |= {"steps": 6, "validate_every": 3, "checkpoint_every": 2}
        path.write_text(yaml.safe_dump(config, sort_keys=False))
    return whole


def test_a_training_leaves_weights_checkpoint_log_and_curves(
    medseg_command, recipe, small_manifest, test_data, tmp_path
):
    words = ("train", recipe, "--data", small_manifest, "--data-root", test_data, "--output", tmp_path / "run")
    outcome = medseg_command(*words, "--json")
    assert outcome.exit_code == 0, outcome.err
    assert json.loads(outcome.out)["steps"] == 6
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"model.safetensors", "checkpoint.pt", "log.jsonl", "curves.png"}
    events = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if "dice" in event] == [3, 6]
    again = medseg_command(*words)
    assert again.exit_code == 2
    assert "--resume" in again.error_lines[0]


def test_the_trained_weights_segment(medseg_command, recipe, small_manifest, test_data, tmp_path):
    import shutil

    words = ("train", recipe, "--data", small_manifest, "--data-root", test_data, "--output", tmp_path / "run")
    assert medseg_command(*words, "--set", "steps=2", "--set", "validate_every=2").exit_code == 0
    trained = tmp_path / "trained"
    shutil.copytree(recipe, trained)
    shutil.copy(tmp_path / "run" / "model.safetensors", trained / "models" / "model.safetensors")
    case_id = json.loads(small_manifest.read_text())["splits"]["train"][0]
    scan = test_data / "Task04_Hippocampus" / "imagesTr" / f"{case_id}.nii.gz"
    outcome = medseg_command("segment", scan, "--bundle", trained, "--output", tmp_path / "out", "--json")
    assert outcome.exit_code == 0, outcome.err
    shape = json.loads(outcome.out)[0]["segmentation"]["shape"]
    assert np.prod(shape) > 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--data", "no_such_manifest"), "msd_hippocampus"),
        (("--data", "msd_hippocampus", "--data-root", "."), "imagesTr"),
        (("--data", "msd_hippocampus", "--set", "stepps=3"), "steps"),
        (("--data", "msd_hippocampus", "--set", "steps=none"), "steps"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_exit_code_2(medseg_command, recipe, tmp_path, words, expected):
    outcome = medseg_command("train", recipe, *words, "--output", tmp_path / "run", "--quiet")
    assert outcome.exit_code == 2
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert expected in outcome.error_lines[0]
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_resume_without_a_checkpoint_is_one_line_and_exit_code_2(
    medseg_command, recipe, small_manifest, test_data, tmp_path
):
    outcome = medseg_command(
        "train", recipe, "--data", small_manifest, "--data-root", test_data, "--output", tmp_path / "run", "--resume"
    )
    assert outcome.exit_code == 2
    assert "without --resume" in outcome.error_lines[0]


@pytest.mark.skipif(os.name != "posix", reason="Windows ends a process without a word to it")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_who_stops_a_training_finds_no_prepared_scans_left_and_is_told_how_to_go_on(
    recipe, small_manifest, test_data, tmp_path, number
):
    out = tmp_path / "run"
    words = ["--quiet", "train", recipe, "--data", small_manifest, "--data-root", test_data, "--output", out]
    settings = ["--set", "steps=100000", "--set", "cache_gb=0"]
    running = subprocess.Popen(
        [sys.executable, "-m", "medseg", *map(str, words), *settings],
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # noqa: PLW1509  no thread runs here
    )
    deadline = time.monotonic() + 300
    while not (out / "checkpoint.pt").exists() and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.01)
    running.send_signal(number)
    _, said = running.communicate(timeout=300)
    assert running.returncode == 128 + number
    assert said.splitlines() == [
        "The same command with --resume goes on from the last checkpoint.",
        "error: interrupted: nothing half-written was left behind.",
    ]
    assert {path.name for path in out.iterdir()} <= {"checkpoint.pt", "log.jsonl", "model.safetensors", "curves.png"}
