"""A real napari viewer with this plugin, on a real or virtual screen."""

import importlib
from pathlib import Path

import pytest

import medseg

MANIFEST = Path(medseg.__file__).parent / "review" / "napari.yaml"


@pytest.fixture
def viewer(display, request):
    """A shown viewer; it is closed at the end of the test."""
    shown = request.getfixturevalue("make_napari_viewer")(show=True)
    npe2 = importlib.import_module("npe2")
    plugins = npe2.PluginManager.instance()
    if "medseg" not in plugins:  # an older installation beside this checkout names no manifest
        plugins.register(npe2.PluginManifest.from_file(MANIFEST))
    shown.window.resize(1200, 800)
    return shown
