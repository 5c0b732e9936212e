"""The command as a whole: quick help, global options anywhere, errors in one line."""

import subprocess
import sys

import pytest

from medseg import __version__

HEAVY = ("torch", "monai", "numpy", "nibabel", "SimpleITK", "matplotlib")


def test_help_imports_nothing_heavy():
    code = "import sys, medseg.cli.main; print(*[name for name in sys.argv[1:] if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


def test_help_names_every_command(medseg_command):
    outcome = medseg_command("--help")
    assert outcome.exit_code == 0
    for command in ("segment", "train", "evaluate", "bundle", "doctor", "demo"):
        assert f"\n  {command} " in outcome.out


@pytest.mark.parametrize("command", ["segment", "train", "evaluate", "doctor", "demo"])
def test_no_command_has_more_than_eight_options(medseg_command, command):
    text = medseg_command(command, "--help").out
    options = {word for word in text.split() if word.startswith("--")} - {"--help", "--json", "--quiet", "--debug"}
    assert len({option.strip(",.;") for option in options if option.strip(",.;").isascii()}) <= 8, options


def test_version_is_printed(medseg_command):
    assert medseg_command("--version").out == f"medseg {__version__}\n"


def test_global_options_may_stand_behind_the_command(medseg_command):
    before, behind = medseg_command("--json", "bundle", "list"), medseg_command("bundle", "list", "--json")
    assert before.exit_code == behind.exit_code == 0
    assert before.out == behind.out
    assert before.out.startswith("[")


def test_an_unknown_bundle_is_one_line_and_exit_code_2(medseg_command):
    outcome = medseg_command("bundle", "info", "no_such_model")
    assert outcome.exit_code == 2
    assert len(outcome.err.splitlines()) == 1
    assert "no_such_model" in outcome.error_lines[0]
    assert "swin_unetr_hippocampus" in outcome.error_lines[0]


def test_debug_shows_the_stack_trace_and_its_absence_hides_it(medseg_command):
    assert "Traceback" in medseg_command("--debug", "bundle", "info", "no_such_model").err
    assert "Traceback" not in medseg_command("bundle", "info", "no_such_model").err


def test_an_unknown_option_is_exit_code_2(medseg_command):
    assert medseg_command("segment", "--no-such-option").exit_code == 2
