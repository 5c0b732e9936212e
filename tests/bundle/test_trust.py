"""A bundle that medseg does not bring along runs what is known to be harmless, and more only when vouched for."""

import pytest
import torch

from medseg.bundle import load_bundle
from medseg.bundle.trust import TrustError, bundle_digest, check_imports, check_part

CPU = torch.device("cpu")


def test_a_copy_of_our_own_bundle_needs_nobodys_word(folder):
    bundle = load_bundle(folder)
    assert not bundle.is_trusted
    for part in ("network", "preprocessing", "inferer", "postprocessing"):
        bundle.build(part, bundle.parser(device=CPU))


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"_target_": "subprocess.run", "args": ["true"]}, "builds subprocess.run"),
        ({"_target_": "builtins.eval"}, r"builds builtins\.eval"),
        ({"_target_": "monai.apps.download_url", "url": "x"}, "builds monai.apps.download_url"),
        ({"_target_": "SaveImaged", "keys": "image"}, "builds SaveImaged"),
        ({"_target_": "torch.load", "f": "x"}, "builds torch.load"),
        ({"_target_": "scripts.nets.Net"}, "builds scripts.nets.Net"),
        ({"_target_": "$str('UNet')"}, "only known when it runs"),
        ({"_target_": "UNet", "_mode_": "debug"}, "in mode 'debug'"),
        ({"_target_": "HoVerNet", "pretrained_url": "https://example.org/x.pt"}, r"fetches https://example\.org"),
        ("$os.system('true')", r"runs os\.system"),
        (["@other"], "runs open"),
        ("%other", "runs open"),
    ],
)
def test_a_part_that_could_do_more_is_refused_with_place_and_digest(tmp_path, entry, reason):
    (tmp_path / "inference.json").write_text("{}")
    config = {"part": {"deep": [entry]}, "other": "$open('x')"}
    with pytest.raises(TrustError, match=reason) as refused:
        check_part(config, "part", tmp_path)
    assert f"--trust {bundle_digest(tmp_path)}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_no_part_refers_to_is_never_looked_at(tmp_path):
    check_part({"part": {"_target_": "torch.nn.ReLU"}, "datalist": "$os.system('true')"}, "part", tmp_path)


@pytest.mark.parametrize("value", ["$import scripts", {"handlers": ["$import socket"]}, "%/tmp/other.json::network"])
def test_imports_and_other_files_are_refused_wherever_they_stand(tmp_path, value):
    with pytest.raises(TrustError, match=r"imports|reads another file"):
        check_imports({"part": 1, "elsewhere": value}, tmp_path)


def test_a_refused_bundle_has_run_nothing(folder, change, tmp_path):
    witness = tmp_path / "witness"
    change(folder / "configs" / "inference.yaml", {"network": f"$open('{witness}', 'w')"})
    bundle = load_bundle(folder)
    with pytest.raises(TrustError, match=r"runs open\(\) \(at network\)"):
        bundle.build("network", bundle.parser(device=CPU))
    assert not witness.exists()


def test_a_bundle_that_is_vouched_for_runs(folder, change, tmp_path):
    witness = tmp_path / "witness"
    change(folder / "configs" / "inference.yaml", {"network": f"$open('{witness}', 'w')"})
    bundle = load_bundle(folder, trust=bundle_digest(folder))
    bundle.build("network", bundle.parser(device=CPU)).close()
    assert witness.exists()


def test_a_bundle_that_changed_since_it_was_vouched_for_is_refused(folder):
    digest = bundle_digest(folder)
    (folder / "scripts").mkdir()
    (folder / "scripts" / "late.py").write_text("import socket")
    with pytest.raises(TrustError, match="not what was vouched for"):
        load_bundle(folder, trust=digest)
