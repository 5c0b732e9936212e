"""``medseg segment``: what it writes, and how it refuses."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from safetensors.torch import load_file, save_file

from medseg.io import LABEL_SUFFIXES


def files_below(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def scan(tmp_path, write_scan):
    return write_scan(tmp_path / "in" / "scan.nii.gz", shape=(20, 18, 12))


def test_one_scan_gives_labels_record_picture_and_statistics(medseg_command, tiny_bundle, scan, tmp_path):
    outcome = medseg_command("segment", scan, "--bundle", tiny_bundle, "--output", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.err
    assert files_below(tmp_path / "out") == {"scan.nii.gz", "scan.json", "scan.png", "scan_statistics.json"}
    assert "T1 = scan.nii.gz" in outcome.err
    labels, image = nib.load(tmp_path / "out" / "scan.nii.gz"), nib.load(scan)
    assert labels.shape == image.shape
    assert labels.get_data_dtype() == np.uint8
    np.testing.assert_allclose(labels.affine, image.affine, atol=1e-4)


@pytest.mark.parametrize("suffix", LABEL_SUFFIXES)
def test_the_suffix_of_the_output_picks_the_format_and_every_format_overlays_the_scan(
    medseg_command, tiny_bundle, scan, tmp_path, suffix
):
    target = tmp_path / f"labels{suffix}"
    assert medseg_command("segment", scan, "--bundle", tiny_bundle, "--output", target).exit_code == 0
    written, image = sitk.ReadImage(str(target)), sitk.ReadImage(str(scan))
    assert written.GetSize() == image.GetSize()
    np.testing.assert_allclose(written.GetSpacing(), image.GetSpacing(), atol=1e-5)
    np.testing.assert_allclose(written.GetOrigin(), image.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(written.GetDirection(), image.GetDirection(), atol=1e-5)
    assert (tmp_path / "labels_statistics.json").is_file()


def test_json_lists_results_with_the_same_segmentation_as_the_python_door(medseg_command, tiny_bundle, scan, tmp_path):
    import medseg

    words = ["--bundle", tiny_bundle, "--output", tmp_path / "out", "--device", "cpu"]
    outcome = medseg_command("segment", scan, *words, "--json")
    (result,) = json.loads(outcome.out)
    assert result["status"] == "done"
    assert all(Path(path).is_file() for path in result["files"].values())
    assert result["segmentation"] == medseg.segment(scan, bundle=tiny_bundle, device="cpu").summary()


def test_the_record_says_what_ran_and_names_no_place_of_this_machine(medseg_command, tiny_bundle, write_scan, tmp_path):
    scan = write_scan(tmp_path / "Jane_Doe_1970" / "scan.nii.gz", shape=(18, 17, 16))
    medseg_command("segment", scan, "--bundle", tiny_bundle, "--output", tmp_path / "out")
    text = (tmp_path / "out" / "scan.json").read_text()
    record = json.loads(text)
    assert record["bundle"]["name"] == "tiny"
    assert len(record["bundle"]["weights_sha256"]) == len(record["input_sha256"]) == 64
    assert {"read", "preprocess", "infer", "restore"} <= set(record["stage_s"])
    assert record["process_peak_memory_mb"] > 0
    assert "Jane" not in text
    assert str(tmp_path) not in text


def test_files_of_a_folder_that_are_no_scans_are_named(medseg_command, tiny_bundle, write_scan, tmp_path):
    write_scan(tmp_path / "in" / "scan.nii.gz", shape=(20, 18, 12))
    (tmp_path / "in" / "scan_b.nii.gzz").touch()
    outcome = medseg_command("segment", tmp_path / "in", "--bundle", tiny_bundle, "--output", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.err
    assert "passed over, no image of a known format: scan_b.nii.gzz" in outcome.err


def test_results_are_not_replaced_unless_asked(medseg_command, tiny_bundle, scan, tmp_path):
    words = ("segment", scan, "--bundle", tiny_bundle, "--output", tmp_path / "out")
    assert medseg_command(*words).exit_code == 0
    before = (tmp_path / "out" / "scan.json").read_bytes()
    again = medseg_command(*words)
    assert again.exit_code == 2
    assert "--overwrite" in again.error_lines[0]
    assert (tmp_path / "out" / "scan.json").read_bytes() == before
    assert medseg_command(*words, "--overwrite").exit_code == 0
    assert (tmp_path / "out" / "scan.json").read_bytes() != before


def test_an_input_is_never_replaced(medseg_command, tiny_bundle, scan):
    before = scan.read_bytes()
    outcome = medseg_command("segment", scan, "--bundle", tiny_bundle, "--output", scan.parent, "--overwrite")
    assert outcome.exit_code == 2
    assert scan.read_bytes() == before


def test_a_bad_case_of_a_cohort_is_reported_and_the_others_go_on(medseg_command, tiny_bundle, write_scan, tmp_path):
    for name in ("a", "c"):
        write_scan(tmp_path / "in" / f"{name}.nii.gz", shape=(18, 17, 16))
    (tmp_path / "in" / "b.nii.gz").write_bytes(b"\x1f\x8b this is no scan")
    outcome = medseg_command("segment", tmp_path / "in", "--bundle", tiny_bundle, "--output", tmp_path / "out")
    assert outcome.exit_code == 1
    assert len(outcome.error_lines) == 1
    assert outcome.error_lines[0].startswith("error: b: ")
    assert {"a.nii.gz", "c.nii.gz"} <= files_below(tmp_path / "out")
    assert not any(name.startswith("b") for name in files_below(tmp_path / "out"))


def _truncated(path: Path) -> None:
    nib.save(nib.Nifti1Image(np.random.default_rng(0).normal(size=(20, 20, 20)), np.eye(4)), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _text(path: Path) -> None:
    path.write_text("this is a letter, not a scan\n")


def _array(values: np.ndarray, path: Path) -> None:
    nib.save(nib.Nifti1Image(values.astype(np.float32), np.eye(4)), path)


def _with_nan(path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(8, 8, 8))
    values[2, 3, 4] = np.nan
    _array(values, path)


BROKEN = {
    "truncated": _truncated,
    "text": _text,
    "nan": _with_nan,
    "zero-size axis": lambda path: _array(np.zeros((8, 0, 8)), path),
    "2D": lambda path: _array(np.random.default_rng(0).normal(size=(8, 8)), path),
    "5D": lambda path: _array(np.random.default_rng(0).normal(size=(4, 4, 4, 2, 2)), path),
    "two channels": lambda path: _array(np.random.default_rng(0).normal(size=(8, 8, 8, 2)), path),
    "constant": lambda path: _array(np.ones((8, 8, 8)), path),
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_scan_is_one_line_exit_code_2_and_nothing_written(medseg_command, tiny_bundle, tmp_path, kind):
    path = tmp_path / "scan.nii.gz"
    BROKEN[kind](path)
    outcome = medseg_command("segment", path, "--bundle", tiny_bundle, "--output", tmp_path / "out", "--quiet")
    assert outcome.exit_code == 2
    assert len(outcome.err.splitlines()) == 1, outcome.err
    assert len(outcome.error_lines[0]) > 40  # what was found, what was expected, what to do
    assert "Traceback" not in outcome.err
    assert files_below(tmp_path) == {"scan.nii.gz"}


def test_a_missing_scan_is_one_line_and_exit_code_2(medseg_command, tiny_bundle, tmp_path):
    outcome = medseg_command("segment", tmp_path / "no.nii.gz", "--bundle", tiny_bundle, "--output", tmp_path / "out")
    assert outcome.exit_code == 2
    assert len(outcome.error_lines) == 1
    assert not (tmp_path / "out").exists()


def test_an_unknown_output_format_is_refused_before_the_run(medseg_command, tiny_bundle, scan, tmp_path):
    outcome = medseg_command("segment", scan, "--bundle", tiny_bundle, "--output", tmp_path / "labels.png")
    assert outcome.exit_code == 2
    assert ".nii.gz" in outcome.error_lines[0]


def test_a_device_that_is_not_there_is_one_line_and_exit_code_2(medseg_command, tiny_bundle, scan, tmp_path):
    outcome = medseg_command(
        "segment", scan, "--bundle", tiny_bundle, "--output", tmp_path / "out", "--device", "cuda:99"
    )
    assert outcome.exit_code == 2
    assert "cuda:99" in outcome.error_lines[0]


def _command(*words: object) -> list[str]:
    return [sys.executable, "-m", "medseg", *(str(word) for word in words)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be denied nothing; others meet the plain refusal below")
def test_a_folder_that_cannot_be_made_is_one_line(medseg_command, tiny_bundle, scan, tmp_path):
    (tmp_path / "file").write_text("")
    outcome = medseg_command("segment", scan, "--bundle", tiny_bundle, "--output", tmp_path / "file" / "out")
    assert outcome.exit_code == 2
    assert len(outcome.error_lines) == 1


def test_a_full_disk_leaves_no_half_file(tiny_bundle, write_scan, tmp_path):
    scan = write_scan(tmp_path / "scan.nii.gz", shape=(24, 24, 24))
    (tmp_path / "out").mkdir()

    def limit_file_size() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    ended = subprocess.run(
        _command("--quiet", "segment", scan, "--bundle", tiny_bundle, "--output", tmp_path / "out" / "labels.nii"),
        capture_output=True,
        text=True,
        preexec_fn=limit_file_size,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert ended.returncode == 2, ended.stderr
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert "does not exist" not in ended.stderr
    assert not any(name.endswith((".nii", ".png")) for name in files_below(tmp_path / "out"))
    assert not any(name.startswith(".") for name in files_below(tmp_path / "out"))


@pytest.mark.skipif(os.name != "posix", reason="Windows ends a process without a word to it")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_who_stops_a_run_is_told_so_and_finds_nothing_half_written(tiny_bundle, write_scan, tmp_path, number):
    scan = write_scan(tmp_path / "scan.nii.gz", shape=(150, 150, 100))
    out = tmp_path / "out"
    running = subprocess.Popen(
        _command("--quiet", "segment", scan, "--bundle", tiny_bundle, "--output", out, "--also", "probabilities"),
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # noqa: PLW1509  no thread runs here
    )
    deadline = time.monotonic() + 300
    while not list(out.glob(".*")) and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.01)
    running.send_signal(number)
    _, said = running.communicate(timeout=300)
    assert running.returncode == 128 + number
    assert said == "error: interrupted: nothing half-written was left behind.\n"
    assert not out.exists()  # the run made it, and nothing came to lie in it


def test_a_kill_in_the_middle_leaves_complete_files_only(tiny_bundle, write_scan, tmp_path):
    for number in range(12):
        write_scan(tmp_path / "in" / f"case{number:02}.nii.gz", shape=(40, 40, 40), seed=number)
    out = tmp_path / "out"
    running = subprocess.Popen(
        _command("--quiet", "segment", tmp_path / "in", "--bundle", tiny_bundle, "--output", out),
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 300
    while not list(out.glob("case*.nii.gz")) and time.monotonic() < deadline and running.poll() is None:
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    finished = list(out.glob("case*.nii.gz"))
    assert finished
    for path in finished:
        assert nib.load(path).get_fdata().shape == (40, 40, 40)
        json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())


@pytest.mark.parametrize("runtime", ["openvino", "onnx"])
def test_every_runtime_gives_the_labels_of_torch(runtime, medseg_command, tiny_bundle, scan, tmp_path, monkeypatch):
    pytest.importorskip({"openvino": "openvino", "onnx": "onnxruntime"}[runtime])
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    labels, used = {}, {}
    for name in ("torch", runtime):
        output = tmp_path / name / "scan.nii.gz"
        output.parent.mkdir()
        outcome = medseg_command(
            "segment", scan, "--bundle", tiny_bundle, "--output", output, "--runtime", name, "--device", "cpu"
        )
        assert outcome.exit_code == 0, outcome.err
        labels[name] = np.asarray(nib.load(output).dataobj)
        used[name] = json.loads(output.with_name("scan.json").read_text())["runtime"]
    assert {name: one["name"] for name, one in used.items()} == {"torch": "torch", runtime: runtime}
    assert used["torch"]["golden_window"] is None
    assert used[runtime]["golden_window"]["label_agreement"] >= 0.995
    assert (labels["torch"] == labels[runtime]).mean() > 0.999
    assert list((tmp_path / "cache" / "runtime").iterdir())


def test_a_cohort_goes_on_where_it_was_and_what_changed_is_done_again(
    medseg_command, tiny_bundle, write_scan, tmp_path
):
    for number in range(3):
        write_scan(tmp_path / "in" / f"case{number}.nii.gz", shape=(20, 18, 14), seed=number)
    other = tmp_path / "other.safetensors"
    own = load_file(tiny_bundle / "models" / "model.safetensors")
    save_file({name: -value for name, value in own.items()}, other)

    def status(*more: object) -> str:
        words = ("segment", tmp_path / "in", "--bundle", tiny_bundle, "--output", tmp_path / "out", "--json", *more)
        ended = medseg_command(*words)
        assert ended.exit_code == 0, ended.err
        return "".join(entry["status"][0] for entry in sorted(json.loads(ended.out), key=lambda one: one["case_id"]))

    assert status() == "ddd"
    refused = medseg_command("segment", tmp_path / "in", "--bundle", tiny_bundle, "--output", tmp_path / "out")
    assert "--resume" in refused.err
    assert status("--resume") == "kkk"
    (tmp_path / "out" / "case1.nii.gz").unlink()  # as a kill leaves it: the labels come last
    assert status("--resume") == "kdk"
    write_scan(tmp_path / "in" / "case2.nii.gz", shape=(20, 18, 14), seed=9)
    assert status("--resume") == "kkd"
    assert status("--resume", "--also", "mirror") == "ddd"
    assert status("--resume") == "ddd"
    assert status("--resume", "--weights", other) == "ddd"
    assert status("--resume", "--weights", other) == "kkk"
    assert status("--resume", "--weights", other, "--also", "probabilities") == "ddd"
    record = tmp_path / "out" / "case1.json"  # a kill between the new record and the new labels
    record.write_bytes(record.read_bytes())
    (tmp_path / "out" / "case0.json").write_text("{")
    assert status("--resume", "--weights", other) == "ddk"


def test_an_unknown_runtime_is_refused_in_one_line(medseg_command, tiny_bundle, scan, tmp_path):
    outcome = medseg_command("segment", scan, "--bundle", tiny_bundle, "--output", tmp_path, "--runtime", "caffe")
    assert outcome.exit_code == 2
    assert "runtime 'caffe' is unknown: expected one of auto, torch, openvino, onnx" in " ".join(outcome.err.split())


def test_the_plan_says_what_a_case_takes_and_does_nothing(medseg_command, tiny_bundle, scan, tmp_path):
    given = ("segment", scan, "--bundle", tiny_bundle, "--output", tmp_path / "out")
    outcome = medseg_command(*given, "--plan", "--json")
    assert outcome.exit_code == 0, outcome.err
    (plan,) = json.loads(outcome.out)
    assert plan["case_id"] == "scan"
    assert plan["runtime"] == "torch"
    assert plan["seconds"] == pytest.approx(plan["n_windows"] * plan["seconds_a_window"])
    assert plan["ram_mb"] > 100
    assert plan["disk_mb"] == pytest.approx(20 * 18 * 12 / 1e6)
    assert not (tmp_path / "out").exists()
    medseg_command(*given)
    record = json.loads((tmp_path / "out" / "scan.json").read_text())
    assert record["runtime"]["name"] == plan["runtime"]
    assert "Nothing was run" in medseg_command(*given, "--plan", "--overwrite").err


def test_a_plan_tells_of_a_case_that_would_fail_and_goes_on(medseg_command, tiny_bundle, write_scan, tmp_path):
    for number in range(3):
        write_scan(tmp_path / "in" / f"case{number}.nii.gz", shape=(20, 18, 12))
    (tmp_path / "in" / "case1.nii.gz").write_bytes(b"no image")
    outcome = medseg_command(
        "segment", tmp_path / "in", "--bundle", tiny_bundle, "--output", tmp_path / "out", "--plan", "--json"
    )
    assert outcome.exit_code == 1
    assert [plan["case_id"] for plan in json.loads(outcome.out)] == ["case0", "case2"]
    assert [line.split()[1] for line in outcome.error_lines] == ["case1:"]


def test_the_plan_of_several_models_counts_the_process_once_and_every_map(medseg_command, tiny_bundle, scan, tmp_path):
    one = ("segment", scan, "--bundle", tiny_bundle, "--output", tmp_path / "out", "--plan", "--json")
    (alone,) = json.loads(medseg_command(*one).out)
    (two,) = json.loads(medseg_command(*one, "--bundle", tiny_bundle, "--also", "uncertainty,probabilities").out)
    assert two["n_windows"] == 2 * alone["n_windows"]
    assert two["ram_mb"] < 1.5 * alone["ram_mb"]
    assert two["disk_mb"] == pytest.approx((1 + 2 * 4 + 3) * alone["disk_mb"])  # labels, two maps in float32, 3 shares


def test_the_plan_of_slices_counts_every_slice(medseg_command, write_scan, tmp_path):
    scan = write_scan(tmp_path / "in" / "scan.nii.gz", shape=(20, 18, 12))
    outcome = medseg_command(
        "segment", scan, "--bundle", "att_swin_unet_hippocampus", "--output", tmp_path / "out", "--plan", "--json"
    )
    (plan,) = json.loads(outcome.out)
    assert plan["n_windows"] == 2 * plan["network_grid"][0]  # each slice, and its mirror image


def test_a_run_that_fails_on_its_only_scan_leaves_no_folder_behind(medseg_command, tiny_bundle, tmp_path):
    (tmp_path / "scan.nii.gz").write_bytes(b"no image")
    words = ("segment", tmp_path / "scan.nii.gz", "--bundle", tiny_bundle, "--output", tmp_path / "new" / "results")
    outcome = medseg_command(*words)
    assert outcome.exit_code == 2
    assert [path.name for path in tmp_path.iterdir()] == ["scan.nii.gz"]
