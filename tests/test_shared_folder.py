"""The folders that travel with medseg."""

import pytest

import medseg
from medseg.errors import DataError
from medseg.shared_folder import shared_folder


def test_a_checkout_has_its_folders_beside_the_package():
    assert (shared_folder("data_manifests") / "msd_hippocampus.json").is_file()
    assert (shared_folder("bundles") / "swin_unetr_hippocampus" / "configs").is_dir()


def test_an_installed_package_uses_the_folders_inside_it(tmp_path, monkeypatch):
    (tmp_path / "medseg" / "_share" / "bundles").mkdir(parents=True)
    (tmp_path / "bundles").mkdir()
    monkeypatch.setattr(medseg, "__file__", str(tmp_path / "medseg" / "__init__.py"))
    assert shared_folder("bundles") == tmp_path / "medseg" / "_share" / "bundles"


def test_an_installation_without_the_folder_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(medseg, "__file__", str(tmp_path / "medseg" / "__init__.py"))
    with pytest.raises(DataError, match="has no folder bundles: install it again"):
        shared_folder("bundles")
