"""The run record: complete, the same for the same run, and without a trace of the patient or the machine's owner."""

import getpass
import importlib.metadata
import json
import platform
from datetime import UTC, datetime, timedelta, timezone
from enum import Enum
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

import medseg
from medseg.errors import OutputError
from medseg.geometry import Geometry
from medseg.record import InputChannel, Machine, OutputGrid, RunRecord, UsedBundle, package_versions, write_record

SHA = "0123456789abcdef" * 4
SCAN = Path("/home/x/Jane_Doe_19700101/scan.nii.gz")
AFFINE = np.array([[0.0, -2, 0, 5], [3, 0, 0, -7], [0, 0, 4, 1.5], [0, 0, 0, 1]])


def record(**changes) -> RunRecord:
    """A record of a made-up run, with ``changes``."""
    values = {
        "case_id": "case_7",
        "started_utc": datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC),
        "bundle": UsedBundle(name="swin_unetr_hippocampus", version="0.1.0", weights_sha256=SHA),
        "input_sha256": SHA[::-1],
        "channels": (InputChannel(name="t1"), InputChannel(name="t2")),
        "output_grid": OutputGrid.of(Geometry((10, 20, 30), AFFINE)),
        "device": "cpu",
    }
    return RunRecord(**(values | changes))


def written(folder: Path, run: RunRecord, *, input_paths: tuple[Path, ...] = ()) -> dict:
    """The values of the file that the record becomes."""
    write_record(folder / "record.json", run, input_paths=input_paths, overwrite=True)
    return json.loads((folder / "record.json").read_text(encoding="utf-8"))


def test_the_file_says_what_ran_on_what(tmp_path):
    values = written(tmp_path, record(stage_s={"read": 0.5}, settings={"overlap": 0.5}))
    assert values["schema_version"] == 1
    assert values["case_id"] == "case_7"
    assert values["bundle"] == {"name": "swin_unetr_hippocampus", "version": "0.1.0", "weights_sha256": SHA}
    assert values["channels"] == [{"name": "t1"}, {"name": "t2"}]
    assert values["started_utc"] == "2024-05-06T07:08:09Z"
    assert values["stage_s"] == {"read": 0.5}
    assert values["settings"] == {"overlap": 0.5}


def test_the_output_grid_is_the_one_of_the_labels(tmp_path):
    grid = written(tmp_path, record())["output_grid"]
    assert grid["shape"] == [10, 20, 30]
    assert grid["affine"] == AFFINE.tolist()
    assert grid["spacing_mm"] == [3, 2, 4]
    assert grid["axcodes"] == "ALS"


def test_the_same_record_gives_the_same_bytes_with_sorted_keys(tmp_path):
    run = record(settings={"z": 1, "a": {"y": 2, "b": 3}})
    for name in ("one.json", "two.json"):
        write_record(tmp_path / name, run, input_paths=(), overwrite=False)
    text = (tmp_path / "one.json").read_text(encoding="utf-8")
    assert (tmp_path / "two.json").read_text(encoding="utf-8") == text
    assert json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n" == text


def test_a_patients_name_in_the_path_leaves_no_trace(tmp_path):
    run = record(
        warnings=(
            f"{SCAN}: the affine was taken from the qform",
            "scan.nii.gz has 3 time points",
            "Jane_Doe_19700101 holds two series",
        ),
        settings={"weights": "/home/x/models/model.pt", "note": "Jane_Doe_19700101"},
    )
    write_record(tmp_path / "record.json", run, input_paths=[SCAN], overwrite=False)
    text = (tmp_path / "record.json").read_text(encoding="utf-8")
    assert not [trace for trace in ("Jane", "Doe", "1970", "/home", "scan.nii", "models") if trace in text]
    assert json.loads(text)["warnings"] == [
        "<input>: the affine was taken from the qform",
        "<input> has 3 time points",
        "<input> holds two series",
    ]


def test_the_case_id_is_kept_as_the_caller_gave_it(tmp_path):
    assert written(tmp_path, record(case_id="Jane_Doe_19700101"), input_paths=(SCAN,))["case_id"] == "Jane_Doe_19700101"


def test_neither_host_nor_user_is_recorded(tmp_path):
    values = written(tmp_path, record())
    text = json.dumps(values)
    assert set(values["machine"]) == {"system", "release", "architecture", "cpu_count"}
    assert platform.node() not in text.split('"')
    assert getpass.getuser() not in text.split('"')
    assert str(Path.home()) not in text or str(Path.home()) == "/"


def test_the_machine_and_the_versions_are_the_real_ones(tmp_path):
    values = written(tmp_path, record())
    assert values["machine"]["system"] == platform.system()
    assert values["machine"]["cpu_count"] == Machine.this().cpu_count >= 1
    assert values["packages"]["medseg"] == medseg.__version__
    assert values["packages"]["python"] == platform.python_version()
    for package in ("torch", "monai", "numpy", "nibabel", "SimpleITK"):
        assert values["packages"][package] == importlib.metadata.version(package)


def test_a_package_that_is_not_installed_is_left_out(monkeypatch):
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "SimpleITK":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert "SimpleITK" not in package_versions()
    assert "numpy" in package_versions()


def test_the_start_is_written_in_utc_from_any_time_zone(tmp_path):
    start = datetime(2024, 5, 6, 1, 0, tzinfo=timezone(timedelta(hours=5)))
    assert written(tmp_path, record(started_utc=start))["started_utc"] == "2024-05-05T20:00:00Z"


def test_a_start_without_a_time_zone_is_refused():
    with pytest.raises(ValidationError, match="started_utc"):
        record(started_utc=datetime(2024, 5, 6))


def test_the_start_is_now_where_none_is_given():
    values = record().model_dump(exclude={"started_utc"})
    assert abs(datetime.now(UTC) - RunRecord(**values).started_utc) < timedelta(minutes=1)


def test_settings_of_any_type_become_plain_json(tmp_path):
    class Mode(Enum):
        FAST = "fast"

    settings = {"roi_size": (96, 96, 64), "mode": Mode.FAST, "range": (-np.inf, np.float32(0.5)), "flags": {"a": True}}
    assert written(tmp_path, record(settings=settings))["settings"] == {
        "roi_size": [96, 96, 64],
        "mode": "fast",
        "range": ["-Infinity", 0.5],
        "flags": {"a": True},
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input_sha256", "abc"),
        ("input_sha256", SHA.upper()),
        ("case_id", ""),
        ("channels", ()),
        ("stage_s", {"read": -1.0}),
        ("process_peak_memory_mb", float("nan")),
        ("host", "workstation"),
    ],
)
def test_a_wrong_or_unknown_value_is_refused(field, value):
    with pytest.raises(ValidationError, match=field):
        record(**{field: value})


@pytest.mark.parametrize("name", ["/opt/bundles/x", r"C:\bundles\x", ""])
def test_a_folder_is_not_a_bundle_name(name):
    with pytest.raises(ValidationError, match="name"):
        UsedBundle(name=name, version="1", weights_sha256=SHA)


def test_a_record_is_not_replaced_unasked(tmp_path):
    path = tmp_path / "record.json"
    write_record(path, record(), input_paths=(), overwrite=False)
    with pytest.raises(OutputError, match="exists already"):
        write_record(path, record(case_id="other"), input_paths=(), overwrite=False)
    assert json.loads(path.read_text(encoding="utf-8"))["case_id"] == "case_7"
    write_record(path, record(case_id="other"), input_paths=(), overwrite=True)
    assert json.loads(path.read_text(encoding="utf-8"))["case_id"] == "other"
