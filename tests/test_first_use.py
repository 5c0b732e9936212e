"""Rooms whose names are imported at first use: each name, from whichever side its file was imported first."""

import subprocess
import sys

import pytest

from medseg.first_use import imported_at_first_use


def test_a_file_with_the_name_of_what_it_offers_is_refused():
    with pytest.raises(ImportError, match=r"medseg\.bundle\.segment is a file"):
        imported_at_first_use("medseg.bundle", {"segment": ("segment",)})


def test_a_name_that_no_file_offers_is_missing_as_in_any_module():
    find = imported_at_first_use("medseg.io", {"write": ("write_labels",)})
    with pytest.raises(AttributeError, match="no attribute 'read_labels'"):
        find("read_labels")


def test_every_room_offers_its_names_after_all_its_files_were_imported():
    code = """
import importlib, pkgutil, types
for room in ("medseg.bundle", "medseg.data", "medseg.io"):
    module = importlib.import_module(room)
    for info in pkgutil.iter_modules(module.__path__):
        importlib.import_module(f"{room}.{info.name}")
    shadowed = [name for name in module.__all__ if isinstance(getattr(module, name), types.ModuleType)]
    print(*shadowed, end="")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
