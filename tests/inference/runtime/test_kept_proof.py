"""Proofs that are kept: found again, made anew where nothing usable lies there, never kept where they fail."""

from dataclasses import replace

import pytest

from medseg.inference.runtime.kept_proof import (
    keep_refusal,
    kept_files,
    kept_proof,
    kept_refusal,
    proof_path,
    refusal_path,
    seal_of,
)
from medseg.inference.runtime.proof import Proof

PASSED = Proof(
    "float32", max_difference=1e-6, mean_difference=1e-7, scale=1.0, label_agreement=1.0, clear_agreement=1.0
)
FAILED = replace(PASSED, clear_agreement=0.5)


def refuse() -> Proof:
    raise AssertionError("proved again")


def test_a_proof_is_made_once(tmp_path):
    path = tmp_path / "new" / "one.proof.json"
    assert kept_proof(path, lambda: PASSED, seal="a") == PASSED
    assert kept_proof(path, refuse, seal="a") == PASSED


@pytest.mark.parametrize("content", ["", "{", "[]", '{"precision": "float32"}', '{"max_difference": 0}'])
def test_what_cannot_be_read_is_replaced(content, tmp_path):
    path = tmp_path / "one.proof.json"
    path.write_text(content)
    assert kept_proof(path, lambda: PASSED, seal="a") == PASSED
    assert kept_proof(path, refuse, seal="a") == PASSED


def test_a_proof_is_of_certain_files_and_of_no_others(tmp_path):
    path = tmp_path / "one.proof.json"
    assert kept_proof(path, lambda: PASSED, seal="a") == PASSED
    other = replace(PASSED, scale=2.0)
    assert kept_proof(path, lambda: other, seal="b") == other
    assert kept_proof(path, refuse, seal="b") == other


def test_the_seal_is_another_where_one_bit_of_what_computes_is_another(tmp_path):
    asked = {"key": "a[1]", "shape": (1, 16), "mark": "ov"}
    model, blob = tmp_path / "a[1]_1x16_ov26.xml", tmp_path / "compiled" / "a[1]_1x16_ov26_bfloat16" / "1.blob"
    for path in (model, blob, tmp_path / "a[1]_1x16_ov26.json", tmp_path / "a[1]_1x16_opset18.onnx"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(100))
    files = kept_files(tmp_path, **asked)
    assert sorted(files) == sorted([model, blob])
    seals = {seal_of(files, cache=tmp_path)}
    for path in files:
        path.write_bytes(bytes(99) + b"\1")
        seals.add(seal_of(files, cache=tmp_path))
    assert len(seals) == 3


def test_weights_that_are_only_compiled_from_are_known_by_their_size(tmp_path):
    weights = tmp_path / "a_1x16_ov26.bin"
    seals = []
    for content in (bytes(100), bytes(99) + b"\1", bytes(99)):
        weights.write_bytes(content)
        seals.append(seal_of([weights], cache=tmp_path))
    assert seals[0] == seals[1] != seals[2]


def test_a_place_that_cannot_be_written_to_costs_the_proof_and_not_the_run(tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "one.proof.json"
    assert kept_proof(path, lambda: PASSED, seal="a") == PASSED
    keep_refusal(path, "it crashed")
    assert kept_refusal(path) == ""


def test_a_failed_proof_is_not_kept(tmp_path):
    path = tmp_path / "one.proof.json"
    assert kept_proof(path, lambda: FAILED, seal="a") == FAILED
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
