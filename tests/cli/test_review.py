import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medseg.cli.main import app


def refusal_of(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["review", *arguments])
    assert result.exit_code != 0
    return str(result.exception)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent"], "does not exist"),
        (["{folder}", "--data", "msd_hippocampus"], "choose one of them"),
        (["{folder}", "{other}"], "Give the folder around them"),
        (["{folder}"], "no"),
    ],
)
def test_what_cannot_be_reviewed_is_refused_before_a_window_opens(
    tmp_path, napari_installed, monkeypatch, arguments, message
):
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")  # nothing is opened
    for name in ("folder", "other"):
        (tmp_path / name).mkdir()
    filled = [part.format(folder=tmp_path / "folder", other=tmp_path / "other") for part in arguments]
    assert message in refusal_of(*filled)


def test_without_napari_the_command_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'medseg[napari]'" in refusal_of(str(tmp_path))


def test_the_command_opens_a_window_on_the_folder(display, tmp_path: Path, write_scan):
    write_scan(tmp_path / "scan.nii.gz")
    program = (
        "import sys, napari, qtpy.QtCore as core\n"
        "from medseg.cli.main import app\n"
        "def leave():\n"
        "    from medseg.review.widgets import ReviewPanel\n"
        "    viewer = napari.current_viewer()\n"
        "    print([layer.name for layer in viewer.layers], flush=True)\n"
        "    viewer.close()\n"
        "run = napari.run\n"
        "def run_briefly():\n"
        "    core.QTimer.singleShot(500, leave)\n"
        "    run()\n"
        "napari.run = run_briefly\n"
        f"sys.argv = ['medseg', 'review', {str(tmp_path)!r}, '--reviewer', 'R. Eader']\n"
        "app()\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, env=dict(os.environ), check=False
    )
    assert "['image', 'as opened', 'labels']" in ran.stdout, ran.stderr
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "review" / "journal.jsonl").is_file()
    assert not list((tmp_path / "review" / "locks").glob("*.lock"))
