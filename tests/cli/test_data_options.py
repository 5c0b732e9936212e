"""Where the scans of a data set are looked for."""

from pathlib import Path

import pytest

from medseg.cli.data_options import root_of


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """Stand in a folder that holds two manifests and a data set with its own ``dataset.json``."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "dataset.json").touch()
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "mine.json").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_dataset_json_stands_beside_its_scans_whatever_else_was_given(here):
    for given in ("own", "own/dataset.json"):
        assert root_of(given, Path("/elsewhere")).resolve() == here / "own"


def test_else_the_place_given_counts():
    assert root_of("msd_hippocampus", Path("/elsewhere")) == Path("/elsewhere")
    assert root_of("manifests/mine.json", Path("/elsewhere")) == Path("/elsewhere")


def test_without_a_place_scans_are_looked_for_beside_the_manifest_or_here(here):
    assert root_of("manifests/mine.json", None).resolve() == here / "manifests"
    assert root_of("msd_hippocampus", None) == here
