import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.atomic import atomic_write, check_target, without_empty_folders
from medseg.errors import OutputError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(target: Path, content: str, *, overwrite: bool = False, then: Callable[[], object] = lambda: None) -> None:
    """``content`` to ``target``, with something that happens before the block ends."""
    with atomic_write(target, overwrite=overwrite) as temporary:
        temporary.write_text(content)
        then()


def failing(error: BaseException) -> Callable[[], object]:
    def fail() -> None:
        raise error

    return fail


def test_the_file_takes_its_name_when_the_block_ends_well(tmp_path):
    target = tmp_path / "labels.nii.gz"
    with atomic_write(target, overwrite=False) as temporary:
        temporary.write_bytes(b"complete")
        assert not target.exists()
    assert target.read_bytes() == b"complete"
    assert names(tmp_path) == ["labels.nii.gz"]


@pytest.mark.parametrize("name", ["x.nii.gz", "x.seg.nrrd", "x.json", "x.y.png"])
def test_the_temporary_file_is_hidden_and_is_no_image_by_its_suffix(tmp_path, name):
    with atomic_write(tmp_path / name, overwrite=False) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".")
        assert temporary.name.endswith(".partial")
        temporary.touch()


def test_the_longest_name_a_disk_takes_is_still_written(tmp_path):
    target = tmp_path / f"{'n' * 248}.nii.gz"
    with atomic_write(target, overwrite=False) as temporary:
        temporary.touch()
    assert target.exists()


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt(), SystemExit(3)])
def test_nothing_is_left_behind_when_the_block_fails(tmp_path, error):
    with pytest.raises(type(error)):
        write(tmp_path / "x.json", "half", then=failing(error))
    assert names(tmp_path) == []


def test_an_existing_file_is_not_replaced_without_overwrite(tmp_path):
    target = tmp_path / "x.json"
    target.write_text("first")
    with pytest.raises(OutputError, match=r"x\.json exists already and was not replaced\. Use --overwrite"):
        write(target, "second")
    assert target.read_text() == "first"


def test_a_link_that_leads_nowhere_holds_its_name(tmp_path):
    (tmp_path / "x.json").symlink_to(tmp_path / "gone")
    with pytest.raises(OutputError, match="exists already"):
        check_target(tmp_path / "x.json", overwrite=False)


def test_a_file_that_appears_while_writing_is_not_replaced(tmp_path):
    target = tmp_path / "x.json"
    with pytest.raises(OutputError, match="exists already"):
        write(target, "mine", then=lambda: target.write_text("another process was faster"))
    assert target.read_text() == "another process was faster"
    assert names(tmp_path) == ["x.json"]


def test_without_hard_links_the_file_is_renamed_and_a_taken_name_still_refused(tmp_path, monkeypatch):
    def no_links(*_args: object) -> None:
        raise OSError(errno.EPERM, "this file system knows no links")

    monkeypatch.setattr(os, "link", no_links)
    target = tmp_path / "x.json"
    write(target, "renamed")
    assert target.read_text() == "renamed"
    other = tmp_path / "y.json"
    with pytest.raises(OutputError, match="exists already"):
        write(other, "mine", then=lambda: other.write_text("theirs"))
    assert other.read_text() == "theirs"


def test_overwrite_replaces_the_whole_file_and_keeps_it_when_writing_fails(tmp_path):
    target = tmp_path / "x.json"
    target.write_text("a long first version")
    with pytest.raises(ValueError, match="bug"):
        write(target, "half", overwrite=True, then=failing(ValueError("bug")))
    assert target.read_text() == "a long first version"
    write(target, "second", overwrite=True)
    assert target.read_text() == "second"


def test_the_file_has_the_permissions_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    with atomic_write(tmp_path / "x.json", overwrite=False) as temporary:
        temporary.touch()
    assert stat.S_IMODE((tmp_path / "x.json").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_a_missing_folder_is_named_with_what_to_do(tmp_path):
    with pytest.raises(OutputError, match=r"its folder does not exist\. Create the folder first\."):
        check_target(tmp_path / "absent" / "x.json", overwrite=False)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="a part of the path is a file"):
        check_target(tmp_path / "file" / "x.json", overwrite=False)


def test_a_folder_is_no_target(tmp_path):
    with pytest.raises(OutputError, match="is a folder"):
        check_target(tmp_path, overwrite=True)


def test_a_free_name_in_a_writable_folder_is_a_good_target(tmp_path):
    check_target(tmp_path / "x.json", overwrite=False)
    (tmp_path / "x.json").touch()
    check_target(tmp_path / "x.json", overwrite=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(OutputError, match="no permission to write there"):
        check_target(tmp_path / "x.json", overwrite=False)


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, "no permission"),
        (errno.EROFS, "read-only"),
        (errno.ENOSPC, "the disk is full"),
        (errno.EDQUOT, "quota is used up"),
        (errno.ENAMETOOLONG, "too long"),
        (errno.EIO, "Choose another path"),
    ],
)
def test_errors_of_the_disk_become_one_line_of_advice(tmp_path, number, advice):
    with pytest.raises(OutputError, match=advice) as caught:
        write(tmp_path / "x", "half", then=failing(OSError(number, os.strerror(number))))
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == []


def test_a_name_too_long_for_the_disk_is_refused_before_the_work(tmp_path):
    with pytest.raises(OutputError, match="too long"):
        check_target(tmp_path / ("n" * 300), overwrite=False)


def test_a_file_beyond_the_size_limit_leaves_nothing_behind(tmp_path, full_disk):
    with pytest.raises(OutputError, match="is larger than this disk or account allows"):
        write(tmp_path / "x.bin", "x" * 100_000)
    assert names(tmp_path) == []


def test_folders_that_were_made_and_stayed_empty_are_gone_after_a_failure(tmp_path):
    with pytest.raises(ValueError, match="no scan"), without_empty_folders(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b").mkdir(parents=True)
        raise ValueError("no scan")
    assert names(tmp_path) == []


def test_a_folder_that_holds_something_stays_with_all_above_it(tmp_path):
    with without_empty_folders(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b").mkdir(parents=True)
        (tmp_path / "a" / "b" / "labels.json").touch()
    assert (tmp_path / "a" / "b" / "labels.json").is_file()


def test_an_empty_folder_that_was_there_before_stays(tmp_path):
    (tmp_path / "a").mkdir()
    with without_empty_folders(tmp_path / "a" / "b"):
        (tmp_path / "a" / "b").mkdir()
    assert names(tmp_path) == ["a"]
