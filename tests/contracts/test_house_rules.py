"""Rules of the house that no linter knows: public names, names of files, what must not stand in the text."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
from pathlib import Path

import pytest

import medseg

ROOT = Path(medseg.__file__).resolve().parents[1]
PACKAGE = Path(medseg.__file__).parent
ROOMS = sorted(module.name for module in pkgutil.iter_modules(medseg.__path__, "medseg.") if module.ispkg)
UNNAMED = {"utils.py", "helpers.py", "misc.py", "common.py"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_lists_its_public_names_in_order_and_has_them(room):
    module = importlib.import_module(room)
    listed = getattr(module, "__all__", [])
    assert len(set(listed)) == len(listed)
    assert all(hasattr(module, name) for name in listed)
    own = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and getattr(value, "__module__", "").startswith(room)
    }
    assert own <= set(listed), f"{room} has public names that __all__ does not list: {own - set(listed)}"


@pytest.mark.parametrize("room", ROOMS)
def test_public_functions_and_classes_are_documented(room):
    module = importlib.import_module(room)
    for name in getattr(module, "__all__", []):
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), f"{room}.{name} has no docstring"


def test_no_file_is_a_drawer_for_everything():
    assert not [path for path in PACKAGE.rglob("*.py") if path.name in UNNAMED]


def imported_modules(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_only_public_modules_of_napari_are_imported():
    private = re.compile(r"^(napari|npe2|vispy)(\.\w+)*\._")
    found = {
        (path.name, module)
        for path in PACKAGE.rglob("*.py")
        for module in imported_modules(path)
        if private.search(module)
    }
    assert not found


def test_errors_form_one_tree_and_every_one_is_drawn_in_it():
    errors = importlib.import_module("medseg.errors")
    drawing = errors.__doc__
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.MedsegError)
        assert re.search(rf"\b{name}\b", drawing), f"{name} is not in the drawing of the error tree"


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="only a checkout knows which files are tracked")
def test_no_scan_is_tracked():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    scans = re.compile(r"\.(nii|nii\.gz|nrrd|mha|mhd|dcm|ima|h5|npz)$", re.IGNORECASE)
    assert not [name for name in tracked if scans.search(name)]
