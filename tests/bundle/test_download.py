"""Weights that a bundle only names are fetched into their place, checked, and never anywhere else."""

import hashlib

import pytest
import yaml

from medseg.bundle.download import download_large_files
from medseg.errors import BundleError, DownloadError, SettingsError

BODY = b"weights" * 1000
ENTRY = {"path": "models/model.pt", "hash_val": hashlib.md5(BODY).hexdigest(), "hash_type": "md5"}


@pytest.fixture
def describe(tmp_path, publisher):
    """A function that writes a bundle's list of large files, of one entry."""
    publisher.files["/model.pt"] = BODY

    def write(**changes):
        entry = ENTRY | {"url": f"{publisher.url}/model.pt"} | changes
        entry = {key: value for key, value in entry.items() if value is not None}
        (tmp_path / "large_files.yml").write_text(yaml.safe_dump({"large_files": [entry]}))
        return tmp_path

    return write


def test_weights_come_to_the_place_the_bundle_names(describe):
    folder = describe()
    assert download_large_files(folder) == (folder / "models" / "model.pt",)
    assert (folder / "models" / "model.pt").read_bytes() == BODY


def test_weights_with_another_checksum_are_not_kept(describe):
    folder = describe(hash_val="0" * 32)
    with pytest.raises(DownloadError, match="was expected"):
        download_large_files(folder)
    assert not (folder / "models" / "model.pt").exists()


@pytest.mark.parametrize("path", ["../model.pt", "/tmp/model.pt", "models/../../model.pt"])
def test_a_place_outside_the_bundle_is_refused(describe, path):
    with pytest.raises(BundleError, match="lies outside the bundle"):
        download_large_files(describe(path=path))


def test_a_place_behind_a_link_out_of_the_bundle_is_refused(describe, tmp_path_factory):
    folder, elsewhere = describe(), tmp_path_factory.mktemp("elsewhere")
    (folder / "models").symlink_to(elsewhere)
    with pytest.raises(BundleError, match="lies outside the bundle"):
        download_large_files(folder)
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("missing", ["", None])
def test_weights_without_a_checksum_are_not_fetched(describe, publisher, missing):
    with pytest.raises(BundleError, match="gives no checksum"):
        download_large_files(describe(hash_val=missing))
    assert publisher.requests == []


def test_a_checksum_that_is_none_is_refused(describe, publisher):
    with pytest.raises(SettingsError, match="hash_val"):
        download_large_files(describe(hash_val="../" * 12))
    assert publisher.requests == []


def test_an_unknown_kind_of_checksum_is_refused(describe):
    with pytest.raises(SettingsError, match="hash_type"):
        download_large_files(describe(hash_type="crc32"))


@pytest.mark.parametrize("content", ["{}", "large_files: 1", "large_files: [1]", "a: [", ""])
def test_a_list_that_makes_no_sense_is_refused(tmp_path, content):
    (tmp_path / "large_files.yml").write_text(content)
    with pytest.raises(BundleError, match="large_files"):
        download_large_files(tmp_path)


def test_a_bundle_that_names_nothing_is_refused(tmp_path):
    with pytest.raises(BundleError, match="names no files to fetch"):
        download_large_files(tmp_path)
