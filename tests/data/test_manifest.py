"""Manifests: what is wrong in one is said in one line; the one that medseg brings along describes the real files."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from medseg.data import load_manifest
from medseg.errors import DataError, SettingsError

HASHES = {"image_sha256": "0" * 64, "label_sha256": "1" * 64}


def values() -> dict[str, Any]:
    """A manifest of four cases, as it stands in a file."""
    return {
        "name": "blocks",
        "title": "Blocks",
        "folder": "Blocks",
        "licence": "CC0-1.0",
        "citation": "none",
        "channels": [{"name": "T1", "modality": "MR"}],
        "labels": [
            {"index": 2, "name": "large", "color": [0, 255, 0]},
            {"index": 1, "name": "small", "color": [255, 0, 0]},
        ],
        "image": "imagesTr/{case_id}.nii.gz",
        "label": "labelsTr/{case_id}.nii.gz",
        "cases": {f"case_{number}": HASHES for number in range(4)},
        "splits": {"train": ["case_0", "case_1"], "validation": ["case_2"], "test": ["case_3"]},
    }


def written(folder: Path, content: Any) -> Path:
    path = folder / "blocks.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def lay_out(
    folder: Path, patterns: tuple[str, ...], cases: tuple[str, ...], channels: tuple[str, ...] = ("T1",)
) -> None:
    for pattern in patterns:
        for case_id in cases:
            for channel in channels:
                path = folder / pattern.format(case_id=case_id, channel=channel)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()


PATTERNS = ("imagesTr/{case_id}.nii.gz", "labelsTr/{case_id}.nii.gz")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"split": {}}, "split: "),
        ({"splits": {"train": ["case_0"], "test": ["case_0"]}}, "a case id stands in two splits, or twice in one"),
        ({"splits": {"train": ["case_0", "case_0"]}}, "a case id stands in two splits, or twice in one"),
        ({"splits": {"train": ["case_9"]}}, "the splits name 'case_9', which is not among the cases"),
        ({"splits": {"train": []}}, "splits.train"),
        ({"channels": []}, "channels"),
        ({"cases": {"case_0": {"image_sha": "0"}}}, "cases.case_0.image_sha"),
        ({"cases": {}}, "there are no cases: list them, or give case_id"),
        ({"splits": None}, "there are no splits: list them by case id, or give a split_rule"),
        ({"label_schema": "brats_1999", "labels": None}, "labels: "),
        ({"labels": [{"index": 1, "name": name, "color": [0, 0, 0]} for name in "ab"]}, "label index 1 stands twice"),
        ({"image": "images/scan.nii.gz"}, "must hold {case_id}"),
        ({"image": "images/{case}.nii.gz"}, "may hold {case_id} and {channel} only"),
        ({"image": "images/{case_id.nii.gz"}, "may hold {case_id} and {channel} only"),
        ({"label": "/labels/{case_id}.nii.gz"}, "lie below the data set's folder"),
    ],
)
def test_a_wrong_manifest_is_refused_in_one_short_line(tmp_path, change, reason):
    with pytest.raises(SettingsError) as refusal:
        load_manifest(written(tmp_path, values() | change))
    message = str(refusal.value)
    assert message.startswith("blocks.json: ")
    assert reason in message
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize(
    ("content", "error", "reason"),
    [
        ("{", DataError, "blocks.json is not valid JSON"),
        ("", DataError, "blocks.json is not valid JSON"),
        ("[1, 2]", SettingsError, r"blocks.json: \[1, 2\] found"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused(tmp_path, content, error, reason):
    with pytest.raises(error, match=reason):
        load_manifest(written(tmp_path, content))


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "blocks.json"
    path.write_bytes(b"\x93\x00\xff")
    with pytest.raises(DataError, match=r"blocks.json is not valid JSON"):
        load_manifest(path)


def test_a_name_that_nothing_has_is_refused_with_the_names_there_are():
    with pytest.raises(DataError, match=r"no data manifest 'blocks': expected a JSON file or one of .*msd_hippocampus"):
        load_manifest("blocks")


def test_labels_are_in_the_order_of_their_values_however_they_are_written(tmp_path):
    assert load_manifest(written(tmp_path, values())).label_table.names == ("small", "large")


@pytest.mark.parametrize("inside", [True, False], ids=["the folder itself", "the folder around it"])
def test_cases_of_a_split_are_found_in_or_below_the_data_root(tmp_path, inside):
    manifest = load_manifest(written(tmp_path, values()))
    lay_out(tmp_path / "Blocks", PATTERNS, ("case_0", "case_1", "case_2", "case_3"))
    cases = manifest.locate(tmp_path / "Blocks" if inside else tmp_path, split="train")
    assert [case.case_id for case in cases] == ["case_0", "case_1"]
    assert cases[0].images == (tmp_path / "Blocks" / "imagesTr" / "case_0.nii.gz",)
    assert cases[0].label == tmp_path / "Blocks" / "labelsTr" / "case_0.nii.gz"


def test_one_folder_a_case_and_one_file_a_channel_are_found(tmp_path):
    patterns = ("{case_id}/{case_id}_{channel}.nii.gz", "{case_id}/{case_id}_seg.nii.gz")
    channels = [{"name": name, "modality": "MR"} for name in ("flair", "t1")]
    brain = values() | {"image": patterns[0], "label": patterns[1], "channels": channels}
    manifest = load_manifest(written(tmp_path, brain))
    lay_out(tmp_path / "Blocks", patterns, ("case_2",), ("flair", "t1"))
    (case,) = manifest.locate(tmp_path, split="validation")
    assert [path.name for path in case.images] == ["case_2_flair.nii.gz", "case_2_t1.nii.gz"]


def test_one_file_for_all_channels_stands_once(tmp_path):
    channels = [{"name": name, "modality": "MR"} for name in ("flair", "t1")]
    manifest = load_manifest(written(tmp_path, values() | {"channels": channels}))
    lay_out(tmp_path / "Blocks", PATTERNS, ("case_2",))
    (case,) = manifest.locate(tmp_path, split="validation")
    assert [path.name for path in case.images] == ["case_2.nii.gz"]


def test_missing_files_are_counted_and_the_first_is_named(tmp_path):
    manifest = load_manifest(written(tmp_path, values()))
    lay_out(tmp_path / "Blocks", PATTERNS, ("case_0",))
    with pytest.raises(
        DataError, match=r"2 files of blocks are missing, the first is imagesTr/case_1.nii.gz: expected"
    ):
        manifest.locate(tmp_path, split="train")


def test_a_place_without_the_data_set_is_refused_with_its_address(tmp_path):
    archive = {"url": "https://example.org/Blocks.tar", "md5": "0"}
    manifest = load_manifest(written(tmp_path, values() | {"archive": archive}))
    with pytest.raises(DataError, match=r"holds no Blocks: .*--data-root.*published at https://example.org/Blocks.tar"):
        manifest.locate(tmp_path, split="train")


def test_the_hippocampus_manifest_splits_its_cases_without_a_rest():
    manifest = load_manifest("msd_hippocampus")
    splits = manifest.splits
    assert len(splits.train) + len(splits.validation) + len(splits.test) == len(manifest.cases)
    assert manifest.label_table.names == ("anterior_hippocampus", "posterior_hippocampus")
    assert manifest.licence == "CC-BY-SA-4.0"


def test_hashes_of_the_hippocampus_manifest_are_those_of_the_real_files(test_data: Path):
    manifest = load_manifest("msd_hippocampus")
    checked = 0
    for split in ("train", "validation", "test"):
        for case in manifest.locate(test_data, split=split)[:3]:
            hashes = manifest.cases[case.case_id]
            assert hashlib.sha256(case.images[0].read_bytes()).hexdigest() == hashes.image_sha256
            assert hashlib.sha256(case.label.read_bytes()).hexdigest() == hashes.label_sha256
            checked += 1
    assert checked == 9
