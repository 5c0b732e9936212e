"""Redaction: no part of an input's path and no path from a root stays in text; everything else does."""

from pathlib import Path

import pytest

from medseg.record.redaction import PathRedactor

SCAN = Path("/home/x/Jane_Doe_19700101/scan.nii.gz")


@pytest.fixture
def redactor() -> PathRedactor:
    return PathRedactor([SCAN])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/x/Jane_Doe_19700101/scan.nii.gz has no spacing", "<input> has no spacing"),
        ("Jane_Doe_19700101: two series found", "<input>: two series found"),
        ("'scan.nii.gz' is oblique", "'<input>' is oblique"),
        ("the scan is oblique", "the <input> is oblique"),
        ("saved as Jane_Doe_19700101_labels.nii", "saved as <input>_labels.nii"),
        ("weights from /opt/models/secret.pt, cached", "weights from <path>, cached"),
        ("weights from ~anna/models/m.pt", "weights from <path>"),
        (r"weights from C:\Users\anna\m.pt", "weights from <path>"),
        (r"read \\server\patients\m.dcm", "read <path>"),
        ("see file:///data/m.nii", "see <path>"),
        ("see ../Meier/m.nii", "see <path>"),
    ],
)
def test_names_and_paths_are_replaced(redactor, text, expected):
    assert redactor.text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "spacing 0.5 mm/s of T1/T2, 1/3 of the scanner's range",
        "3 × 4 voxels, taxes and scanners",
        "Jane is a name of its own",
        "affine found in sform and qform: 0.01 mm apart",
    ],
)
def test_words_that_only_look_similar_stay(redactor, text):
    assert redactor.text(text) == text


def test_without_inputs_only_paths_from_a_root_are_replaced():
    assert PathRedactor([]).text("scan at /data/a.nii") == "scan at <path>"


def test_a_relative_input_is_replaced_in_its_resolved_form_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    redactor = PathRedactor([Path("Jane_Doe/ct.dcm")])
    assert redactor.text(f"{tmp_path / 'Jane_Doe' / 'ct.dcm'} is short") == "<input> is short"
    assert redactor.text("Jane_Doe/ct.dcm is short") == "<input> is short"


def test_names_with_spaces_leave_no_rest():
    redactor = PathRedactor([Path("/archive/Jane Doe (1970)/series 1.dcm")])
    cleaned = redactor.text("/archive/Jane Doe (1970)/series 1.dcm is cut; see Jane Doe (1970) and series 1")
    assert cleaned == "<input> is cut; see <input> and <input>"


def test_a_neighbour_of_the_input_is_replaced_with_the_folder_they_share():
    redactor = PathRedactor([Path("/archive/Jane Doe/t1.nii")])
    assert redactor.text("/archive/Jane Doe/t2 flair.nii was left out") == "<input> flair.nii was left out"


def test_a_folder_called_like_a_replacement_does_no_harm():
    redactor = PathRedactor([Path("/input/path/x.nii")])
    assert redactor.text("/input/path/x.nii and /opt/m.pt") == "<input> and <path>"


def test_an_identifier_with_dots_is_replaced_whole_and_its_numbers_stay():
    redactor = PathRedactor([Path("/archive/1.2.840.113")])
    assert redactor.text("1.2.840.113 has 1 gap of 2 mm") == "<input> has 1 gap of 2 mm"


def test_nested_values_are_cleaned_in_keys_and_strings(redactor):
    value = {"scan": [1, 2.5, None, True, "Jane_Doe_19700101"], "nested": {"weights": "/opt/m.pt"}}
    assert redactor.value(value) == {"<input>": [1, 2.5, None, True, "<input>"], "nested": {"weights": "<path>"}}
