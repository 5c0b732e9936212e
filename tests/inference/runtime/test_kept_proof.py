"""Proofs that are kept: found again, made anew where nothing usable lies there, never kept where they fail."""

from dataclasses import replace

import pytest

from medseg.inference.runtime.kept_proof import keep_refusal, kept_proof, kept_refusal, proof_path, refusal_path
from medseg.inference.runtime.proof import Proof

PASSED = Proof(
    "float32", max_difference=1e-6, mean_difference=1e-7, scale=1.0, label_agreement=1.0, clear_agreement=1.0
)
FAILED = replace(PASSED, clear_agreement=0.5)


def refuse() -> Proof:
    raise AssertionError("proved again")


def test_a_proof_is_made_once(tmp_path):
    path = tmp_path / "new" / "one.proof.json"
    assert kept_proof(path, lambda: PASSED) == PASSED
    assert kept_proof(path, refuse) == PASSED


@pytest.mark.parametrize("content", ["", "{", "[]", '{"precision": "float32"}', '{"max_difference": 0}'])
def test_what_cannot_be_read_is_replaced(content, tmp_path):
    path = tmp_path / "one.proof.json"
    path.write_text(content)
    assert kept_proof(path, lambda: PASSED) == PASSED
    assert kept_proof(path, refuse) == PASSED


def test_a_failed_proof_is_not_kept(tmp_path):
    path = tmp_path / "one.proof.json"
    assert kept_proof(path, lambda: FAILED) == FAILED
    assert not path.exists()


def test_each_network_window_runtime_and_precision_has_its_own(tmp_path):
    asked = {"key": "a", "runtime": "openvino", "package": "numpy", "precision": "float32", "shape": (1, 1, 16, 16, 16)}
    changes = [{}, {"key": "b"}, {"runtime": "onnx"}, {"package": "torch"}, {"precision": "bfloat16"}, {"shape": (1,)}]
    assert len({proof_path(tmp_path, **(asked | change)) for change in changes}) == len(changes)


def test_a_refusal_is_found_again_and_what_cannot_be_read_is_none(tmp_path):
    path = tmp_path / "new" / "one.refused.json"
    assert kept_refusal(path) == ""
    keep_refusal(path, "it crashed")
    assert kept_refusal(path) == "it crashed"
    for content in ("", "[]", "{}", "7"):
        path.write_text(content)
        assert kept_refusal(path) == ""


def test_each_network_window_and_runtime_has_its_own_refusal(tmp_path):
    asked = {"key": "a", "runtime": "openvino3", "package": "numpy", "shape": (1, 1, 16, 16, 16)}
    changes = [{}, {"key": "b"}, {"runtime": "openvino4"}, {"package": "torch"}, {"shape": (1,)}]
    assert len({refusal_path(tmp_path, **(asked | change)) for change in changes}) == len(changes)
