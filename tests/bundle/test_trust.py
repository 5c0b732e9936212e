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
        ({"_target_": "WriteFileMappingd", "keys": "image", "mapping_file_path": "x"}, "builds WriteFileMappingd"),
        ({"_target_": "SaveClassificationd", "keys": "image", "output_dir": "x"}, "builds SaveClassificationd"),
        ({"_target_": "PerceptualLoss", "spatial_dims": 3, "network_type": "medicalnet_resnet10_23datasets"}, "builds"),
        ({"_target_": "CellSamWrapper", "checkpoint": "x"}, "builds CellSamWrapper"),
        ({"_target_": "monai.losses.perceptual.MedicalNetPerceptualSimilarity"}, "builds monai.losses.perceptual"),
        ({"_target_": "monai.losses.perceptual.RadImageNetPerceptualSimilarity"}, "builds monai.losses.perceptual"),
        ({"_target_": "PatchInferer", "merger_cls": "scripts.late.Merger"}, "builds PatchInferer"),
        ({"_target_": "Transchex", "in_channels": 3}, "builds Transchex"),
        ({"_target_": "monai.apps.nnunet.nnunet_bundle.ModelnnUNetWrapper", "model_folder": "x"}, "builds monai.apps"),
        ({"_target_": "TorchVisionFCModel", "weights": "DEFAULT"}, "fetches weights for TorchVisionFCModel"),
        ({"_target_": "UNet", "_debug_": True}, "builds UNet in the debugger"),
        ({"_target_": "torch.jit.RecursiveScriptModule"}, "builds torch.jit"),
        ({"_target_": "DenseNet121", "spatial_dims": 2, "pretrained": True}, "fetches weights for DenseNet121"),
        ({"_target_": "EfficientNetBN", "model_name": "efficientnet-b0"}, "fetches weights for EfficientNetBN"),
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


def test_a_network_that_is_asked_not_to_fetch_weights_is_built(tmp_path):
    entry = {"_target_": "EfficientNetBN", "model_name": "efficientnet-b0", "pretrained": False}
    check_part({"part": entry}, "part", tmp_path)


@pytest.mark.parametrize("key", ["other::deep", "other#deep", "@other"])
def test_an_entry_that_no_reference_can_name_is_refused(key, tmp_path):
    with pytest.raises(TrustError, match="hides the entry"):
        check_imports({"part": "@other::deep", key: "$open('x')"}, tmp_path)


def test_keys_never_get_into_an_expression(tmp_path):
    config = {"part": {"": 1, " or open('x') or 1": ["$(1, 2)[@::1]", 1]}}
    with pytest.raises(TrustError, match="keys into an expression"):
        check_imports(config, tmp_path)


def test_keys_never_become_the_name_of_a_file_that_a_macro_reads(tmp_path):
    config = {"part": {"deep": {"configs/late.json": {"a": "%#b", "b": 1}}}}
    with pytest.raises(TrustError, match="keys into an expression or a macro"):
        check_imports(config, tmp_path)


def test_the_digest_covers_code_behind_links(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "late.py").write_text("1")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "scripts").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "bundle")
    before = bundle_digest(tmp_path / "bundle")
    (tmp_path / "elsewhere" / "late.py").write_text("2")
    assert bundle_digest(tmp_path / "bundle") != before


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
