import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import medseg

MANIFEST = Path(medseg.__file__).parent / "review" / "napari.yaml"
PYPROJECT = Path(medseg.__file__).parents[1] / "pyproject.toml"


@pytest.fixture
def manifest(napari_installed):
    return importlib.import_module("npe2").PluginManifest.from_file(MANIFEST)


def test_the_manifest_is_valid_and_everything_it_names_can_be_imported(manifest):
    manifest.validate_imports()
    assert manifest.name == "medseg"


def test_every_command_is_contributed_and_every_contribution_has_its_command(manifest):
    contributions = manifest.contributions
    commands = {command.id for command in contributions.commands}
    used = {
        item.command
        for kind in ("readers", "writers", "widgets", "sample_data")
        for item in getattr(contributions, kind) or ()
    }
    assert commands == used


def test_the_preferences_have_the_defaults_of_the_manifest(manifest):
    from medseg.review.preferences import ReviewPreferences

    stated = manifest.contributions.configurations["review"].properties
    assert {name: value.default for name, value in stated.items()} == ReviewPreferences().model_dump()


def test_the_reader_takes_every_suffix_that_medseg_reads(manifest):
    from medseg.io.formats import ITK_SUFFIXES, NIFTI_SUFFIXES

    (reader,) = manifest.contributions.readers
    assert all(
        any(Path(f"a{suffix}").match(pattern) for pattern in reader.filename_patterns)
        for suffix in NIFTI_SUFFIXES + ITK_SUFFIXES
    )
    assert reader.accepts_directories


@pytest.mark.skipif(not PYPROJECT.is_file(), reason="only a checkout has pyproject.toml")
def test_napari_finds_the_manifest_by_the_entry_point():
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    module, name = project["entry-points"]["napari.manifest"]["medseg"].split(":")
    assert Path(importlib.import_module(module).__file__).with_name(name) == MANIFEST
    assert "Framework :: napari" in project["classifiers"]


def test_the_review_can_be_imported_without_napari_and_qt():
    program = (
        "import sys, medseg.review\n"
        "print([name for name in ('napari', 'npe2', 'qtpy', 'PySide6', 'vispy') if name in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
