"""What commands print: whole names in narrow tables, JSON for whatever reads stdout, brackets as they are."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from medseg.cli import console
from medseg.cli.console import print_json, print_table

NAME = "att_swin_unet_head_neck_oar"
SHA256 = "23b9dcf70f7706357fc43e0c4a23aa1a6346cd488c46a629f751da5a0b1c2d3e"


def shown(monkeypatch, *headings, rows, width=60):
    file = io.StringIO()
    monkeypatch.setattr(console, "messages", Console(file=file, width=width, highlight=False, soft_wrap=True))
    print_table(*headings, rows=rows)
    return file.getvalue()


def test_a_narrow_terminal_shows_every_character_of_a_table(monkeypatch):
    text = shown(monkeypatch, "name", "found", rows=[("short", SHA256), ("train", "medseg train " * 9)])
    assert "…" not in text
    cells = [line.split("│") for line in text.splitlines() if line.startswith("│")]
    assert SHA256 in "".join(line[2].strip() for line in cells)
    assert max(map(len, text.splitlines())) <= 60


def test_names_stay_whole_on_a_usual_terminal(monkeypatch):
    rows = [(NAME, "optional", "a recipe without weights", f"medseg train {NAME} …, or --weights FILE")]
    text = shown(monkeypatch, "part", "", "found", "fix", rows=rows, width=80)
    assert f"│ {NAME} │" in text
    assert max(map(len, text.splitlines())) <= 80


def test_brackets_and_colons_in_a_table_are_no_markup(monkeypatch):
    text = shown(monkeypatch, rows=[("folder", "/data/[bold]old[/x]/:smile:")], width=80)
    assert "/data/[bold]old[/x]/:smile:" in text


class Stdout(io.TextIOWrapper):
    """Stdout of a given encoding, in memory."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding)

    @property
    def written(self) -> str:
        return self.buffer.getvalue().decode(self.encoding)


@pytest.mark.parametrize(("encoding", "is_plain"), [("utf-8", True), ("latin-1", True), ("ascii", False)])
def test_json_comes_out_whole_in_every_encoding(monkeypatch, encoding, is_plain):
    stdout = Stdout(encoding)
    monkeypatch.setattr(sys, "stdout", stdout)
    print_json({"grid": "240×240", "name": "Schäfer"})
    assert json.loads(stdout.written) == {"grid": "240×240", "name": "Schäfer"}
    assert ("×" in stdout.written) == is_plain


def test_json_of_a_name_that_is_no_text_comes_out_all_the_same(monkeypatch):
    stdout = Stdout("utf-8")
    monkeypatch.setattr(sys, "stdout", stdout)
    print_json({"file": "sc\udce4n.nii.gz"})
    assert json.loads(stdout.written) == {"file": "sc\udce4n.nii.gz"}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
def test_json_to_a_full_disk_is_one_line_of_advice():
    command = f"{sys.executable} -m medseg data list --json > /dev/full"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: the results cannot be printed (No space left on device)")


@pytest.mark.parametrize("closed", ["1>&-", "2>&-"])
def test_a_command_works_where_a_service_closed_what_it_prints_to(closed):
    done = subprocess.run(
        f"{sys.executable} -m medseg data list --json {closed}", shell=True, capture_output=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr == b""


@pytest.mark.parametrize("words", [("bundle", "list"), ("data", "list"), ("data", "info", "btcv"), ("doctor",)])
def test_quiet_prints_no_table(medseg_command, words):
    outcome = medseg_command(*words, "--quiet")
    assert (outcome.exit_code, outcome.out, outcome.err) == (0, "", "")
