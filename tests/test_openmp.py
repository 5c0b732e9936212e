"""How long torch's threads wait for one another: briefly on the command line, and as a person says."""

import os
import subprocess
import sys

import pytest

from medseg import openmp


@pytest.fixture(autouse=True)
def _nothing_set_yet(monkeypatch):
    monkeypatch.setattr(openmp, "_set_here", set())


def test_threads_wait_briefly():
    environment = {"HOME": "/home"}
    openmp.wait_briefly(environment)
    assert environment == {"HOME": "/home", "GOMP_SPINCOUNT": "4000"}
    assert openmp.environment_as_started(environment) == {"HOME": "/home"}


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_what_a_person_says_stays(name):
    environment = {name: "ACTIVE"}
    openmp.wait_briefly(environment)
    assert environment == openmp.environment_as_started(environment) == {name: "ACTIVE"}


def test_the_command_line_says_it_before_torch_is_there():
    program = (
        "import os, sys\n"
        "from medseg.cli import main\n"
        "main.app = lambda **_: print(os.environ['GOMP_SPINCOUNT'], 'torch' in sys.modules)\n"
        "main.run(['demo'])\n"
    )
    bare = {name: value for name, value in os.environ.items() if name not in openmp.SETTINGS_OF_A_PERSON}
    done = subprocess.run([sys.executable, "-c", program], env=bare, capture_output=True, text=True, check=True)
    assert done.stdout == "4000 False\n"
