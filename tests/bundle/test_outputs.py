"""Where results go: beside one another, never over an input, never over a result unasked."""

from pathlib import Path

import pytest

from medseg.bundle import OutputPaths, plan_outputs
from medseg.bundle.outputs import Extras
from medseg.errors import OutputError
from medseg.io import LABEL_SUFFIXES, CaseFiles, ChannelFile


def case(case_id: str, *paths: Path) -> CaseFiles:
    return CaseFiles(case_id, tuple(ChannelFile("T1", path) for path in paths or (Path(f"/scans/{case_id}.nii.gz"),)))


@pytest.mark.parametrize("suffix", [*LABEL_SUFFIXES, ".NII.GZ"])
def test_what_lies_beside_a_label_file_is_named_after_it(suffix):
    paths = OutputPaths.beside(Path(f"out/scan.v2{suffix}"))
    assert [path.name for path in paths.all] == [
        "scan.v2.json",
        "scan.v2.png",
        "scan.v2_statistics.json",
        f"scan.v2{suffix}",
    ]
    assert {path.parent for path in paths.all} == {Path("out")}


def test_one_case_goes_to_the_file_asked_for(tmp_path):
    planned = plan_outputs([case("a")], tmp_path / "labels.nrrd", overwrite=False)
    assert planned == {"a": OutputPaths.beside(tmp_path / "labels.nrrd")}


def test_cases_go_to_a_folder_that_is_made(tmp_path):
    planned = plan_outputs([case("a"), case("b")], tmp_path / "new" / "results.v1", overwrite=False)
    assert (tmp_path / "new" / "results.v1").is_dir()
    assert planned["b"].labels == tmp_path / "new" / "results.v1" / "b.nii.gz"


def test_one_case_goes_into_a_folder_whose_name_has_a_dot(tmp_path):
    (tmp_path / "results.v1").mkdir()
    planned = plan_outputs([case("a")], tmp_path / "results.v1", overwrite=False)
    assert planned["a"].labels == tmp_path / "results.v1" / "a.nii.gz"


def test_several_cases_do_not_go_to_one_file(tmp_path):
    with pytest.raises(OutputError, match=r"labels.nii.gz is one file, but there are 2 cases: give --output a folder"):
        plan_outputs([case("a"), case("b")], tmp_path / "labels.nii.gz", overwrite=True)


@pytest.mark.parametrize("name", ["labels.png", "labels.nii.bz2", "labels.dcm"])
def test_a_file_of_another_format_is_refused_before_the_work(tmp_path, name):
    with pytest.raises(OutputError, match=f"{name} is neither a folder nor a label file: end it in .nii.gz"):
        plan_outputs([case("a")], tmp_path / name, overwrite=False)
    assert not (tmp_path / name).exists()


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="taken cannot be made"):
        plan_outputs([case("a")], tmp_path / "taken", overwrite=True)


def test_a_label_file_in_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(OutputError, match=r"nowhere/a\.nii\.gz cannot be written: its folder does not exist. Create"):
        plan_outputs([case("a")], tmp_path / "nowhere" / "a.nii.gz", overwrite=False)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.json", "a.png", "a_statistics.json"])
def test_a_result_that_exists_is_replaced_only_when_asked(tmp_path, name):
    (tmp_path / name).write_text("earlier")
    with pytest.raises(OutputError, match=f"{name} exists already and was not replaced. Use --overwrite"):
        plan_outputs([case("a")], tmp_path, overwrite=False)
    assert plan_outputs([case("a")], tmp_path, overwrite=True)["a"].labels == tmp_path / "a.nii.gz"
    assert (tmp_path / name).read_text() == "earlier"


@pytest.mark.parametrize("is_folder", [True, False])
def test_an_input_is_never_replaced_even_when_asked(tmp_path, monkeypatch, is_folder):
    scan = tmp_path / "a.nii.gz"
    scan.write_text("scan")
    output = tmp_path if is_folder else scan
    with pytest.raises(OutputError, match=r"a.nii.gz is an input: results never replace it"):
        plan_outputs([case("a", scan)], output, overwrite=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="is an input"):
        plan_outputs([case("a", Path("a.nii.gz"))], output, overwrite=True)


def test_an_input_of_another_case_is_never_replaced(tmp_path):
    inputs = [case("b", tmp_path / "a.nii.gz"), case("a", tmp_path / "sub" / "a.nii.gz")]
    with pytest.raises(OutputError, match="is an input"):
        plan_outputs(inputs, tmp_path, overwrite=True)


def test_no_map_beside_the_labels_replaces_an_input(tmp_path):
    inputs = [case("a", tmp_path / "a_uncertainty.nii.gz")]
    with pytest.raises(OutputError, match=r"a_uncertainty\.nii\.gz is an input"):
        plan_outputs(inputs, tmp_path / "a.nii.gz", overwrite=True, extras=Extras(uncertainty=True))


def test_an_input_behind_a_link_is_never_replaced(tmp_path):
    (tmp_path / "scan.nii.gz").write_text("scan")
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "scan.nii.gz")
    with pytest.raises(OutputError, match="is an input"):
        plan_outputs([case("a", tmp_path / "link.nii.gz")], tmp_path / "scan.nii.gz", overwrite=True)


def test_two_cases_that_would_share_a_file_are_refused(tmp_path):
    with pytest.raises(OutputError, match=r"a_statistics.json would belong to a and to a_statistics: rename one"):
        plan_outputs([case("a"), case("a_statistics")], tmp_path, overwrite=True)
