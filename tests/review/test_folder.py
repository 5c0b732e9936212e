"""The places of a review: one for each case, all inside the review's folder."""

import pytest

from medseg.errors import OutputError
from medseg.review import ReviewFolder, folder_name


def test_every_case_id_has_a_folder_of_its_own():
    ids = ["a/b", "a_b", "a\\b", "a b", "a-b", "a:b", "A/B", *(f"{folder_name('a/b')}{end}" for end in ("", "x"))]
    assert len({folder_name(case_id).casefold() for case_id in ids}) == len(ids)
    assert folder_name("BraTS2021_00006") == "BraTS2021_00006"
    assert folder_name("TCGA-DU-7294") == "TCGA-DU-7294"


def test_the_folders_are_made_once_and_again(tmp_path):
    folder = ReviewFolder.of(tmp_path / "scans")
    folder.create()
    folder.create()
    assert sorted(path.name for path in folder.path.iterdir()) == ["autosave", "locks", "versions"]
    assert folder.path == tmp_path / "scans" / "review"


def test_a_folder_that_cannot_be_made_is_told_in_one_line(tmp_path):
    (tmp_path / "review").write_text("")
    with pytest.raises(OutputError, match="choose another place"):
        ReviewFolder.of(tmp_path).create()


@pytest.mark.parametrize("case_id", ["../x", "a/b", "case_1"])
def test_every_file_of_a_case_lies_in_the_folder(case_id, tmp_path):
    folder = ReviewFolder(tmp_path)
    assert folder.lock_of(case_id).parent == folder.locks
    assert folder.autosave_of(case_id).parent == folder.autosaves
    assert folder.versions_of(case_id).parent == folder.versions
