"""Bundles of others on the command line: refused in one line, vouched for by digest, weights fetched or given."""

import hashlib
import re
import shutil

import pytest
import yaml


@pytest.fixture
def scan(tmp_path, write_scan):
    return write_scan(tmp_path / "in" / "scan.nii.gz", shape=(20, 18, 12))


@pytest.fixture
def own_copy(tiny_bundle, tmp_path):
    """A copy of the tiny bundle that a test may change."""
    return shutil.copytree(tiny_bundle, tmp_path / "copy")


def rewrite(path, **values):
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | values, sort_keys=False))


def test_a_bundle_that_runs_code_is_refused_and_runs_when_vouched_for(medseg_command, own_copy, scan, tmp_path):
    rewrite(own_copy / "configs" / "inference.yaml", overlap="$float(open('/dev/null').read() or 0.25)")
    words = ("segment", scan, "--bundle", own_copy, "--output", tmp_path / "out")
    refused = medseg_command(*words)
    assert refused.exit_code == 2
    assert refused.err.strip().splitlines()[-1].startswith("error: bundle copy runs .read (at overlap)")
    assert not list((tmp_path / "out").glob("*.nii.gz"))
    digest = re.search(r"--trust ([0-9a-f]{64})", refused.err)[1]
    assert medseg_command(*words, "--trust", digest).exit_code == 0
    assert medseg_command(*words, "--trust", "0" * 64, "--overwrite").exit_code == 2


def test_missing_weights_are_one_line_that_says_how_to_get_them(medseg_command, own_copy, scan, tmp_path, publisher):
    weights = own_copy / "models" / "model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    publisher.files["/model.safetensors"] = content
    entry = {
        "path": "models/model.safetensors",
        "url": f"{publisher.url}/model.safetensors",
        "hash_val": hashlib.sha256(content).hexdigest(),
        "hash_type": "sha256",
    }
    (own_copy / "large_files.yml").write_text(yaml.safe_dump({"large_files": [entry]}))
    words = ("segment", scan, "--bundle", own_copy, "--output", tmp_path / "out")
    refused = medseg_command(*words)
    assert refused.exit_code == 2
    assert "to get them: medseg bundle download copy" in refused.err
    assert medseg_command("bundle", "download", own_copy).exit_code == 0
    assert medseg_command(*words).exit_code == 0


def test_weights_can_be_given(medseg_command, own_copy, scan, tmp_path):
    weights = shutil.move(own_copy / "models" / "model.safetensors", tmp_path / "mine.safetensors")
    words = ("segment", scan, "--bundle", own_copy, "--output", tmp_path / "out", "--weights")
    assert medseg_command(*words, weights).exit_code == 0
    lost = medseg_command(*words, tmp_path / "lost.pt", "--overwrite")
    assert lost.exit_code == 2
    assert "no weights at lost.pt" in lost.err
