"""Every network against the authors' own numbers: golden vectors are found on disk, one pair of files a network.

A ``.safetensors`` file holds the authors' state dict under their names, an input and what their program answered;
the ``.json`` beside it the settings and a tolerance.
"""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from medseg.networks import load_released
from medseg.networks.checkpoints.release import known_importers

FOLDER = Path(os.environ.get("MEDSEG_TEST_GOLDEN", Path(__file__).resolve().parents[3] / "shared" / "golden"))
FILES = sorted(FOLDER.glob("*.safetensors")) if FOLDER.is_dir() else []
MAIN, DOUBLE = "__output__", "__output_float64__"

VARIANTS = {
    "__output_legacy_merging__": {"downsample": "legacy_merging"},
    "__output_mergingv2__": {"downsample": "mergingv2"},
    "__output_skip1__": {"skip_num": "1"},
    "__output_swin_double__": {"mode": "swin"},
    "__output_swin_single__": {"mode": "swin", "spatial_attention": "0"},
}
"""Further outputs of the same weights, and the settings that gave them (``notes`` in the JSON)."""

ABSENT_IN_MODE_SWIN = "decoder.Crossvit_layer."

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not FILES, reason=f"no golden vectors: MEDSEG_TEST_GOLDEN names no folder ({FOLDER.name!r})"),
    pytest.mark.parametrize("path", FILES, ids=[file.stem for file in FILES], scope="module"),
]


class Golden:
    """One pair of files."""

    def __init__(self, path: Path):
        self.notes = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        tensors = load_file(path)
        self.network = next(n for n in known_importers() if _plain(self.notes["network"]).startswith(_plain(n)))
        self.answers = {name: value for name, value in tensors.items() if name.startswith("__output")}
        self.image = tensors["__input__"]
        self.state = {name: value for name, value in tensors.items() if not name.startswith("__")}

    def load(self, **changes):
        state = self.state
        if changes.get("mode") == "swin":
            state = {name: value for name, value in state.items() if not name.startswith(ABSENT_IN_MODE_SWIN)}
        return load_released(self.network, state, {**self.notes["config"], **changes})

    def assert_equal(self, found, name):
        tolerance = {"atol": self.notes["suggested_atol"], "rtol": self.notes["suggested_rtol"]}
        torch.testing.assert_close(found, self.answers[name], **tolerance)


def _plain(name: str) -> str:
    return name.replace("_", "")


@pytest.fixture(scope="module")
def golden(path):
    return Golden(path)


def test_every_key_of_the_release_is_accounted_for(golden):
    _, report = golden.load()
    accounts = [*report.loaded, *report.derived, *report.unused]
    assert sorted(accounts) == sorted(golden.state)
    assert not report.not_started
    assert set(golden.notes["unused_parameters_zero_gradient"]) <= set(report.unused)


@torch.no_grad()
def test_each_head_gives_the_authors_numbers(golden):
    network, _ = golden.load()
    heads = network.heads(golden.image)
    named = [name for name in golden.answers if name.removeprefix(MAIN).isdigit()]
    golden.assert_equal(network(golden.image), MAIN)
    for name in (MAIN, *named):
        golden.assert_equal(heads[int(name.removeprefix(MAIN) or 0)], name)
    assert len(heads) >= 1 + len(named)


@torch.no_grad()
def test_double_precision_agrees_to_nine_digits(golden):
    if DOUBLE not in golden.answers:
        pytest.skip("no output in double precision is stored")
    network, _ = golden.load()
    torch.testing.assert_close(network.double()(golden.image.double()), golden.answers[DOUBLE], atol=1e-9, rtol=0)


@torch.no_grad()
def test_variants_of_the_settings_give_the_authors_numbers(golden):
    variants = [name for name in golden.answers if name in VARIANTS]
    if not variants:
        pytest.skip("no further outputs are stored")
    for name in variants:
        network, _ = golden.load(**VARIANTS[name])
        golden.assert_equal(network(golden.image), name)


def test_every_stored_output_is_compared(golden):
    compared = {MAIN, DOUBLE, *VARIANTS, *(f"{MAIN}{number}" for number in range(10))}
    assert set(golden.answers) <= compared
