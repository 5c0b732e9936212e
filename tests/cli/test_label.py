"""``medseg label``: what is refused before a server is started, and the versions of a model."""

import json

import pytest

from medseg.label import installation, launch
from medseg.label.installation import check_installation, stand_in_folders


@pytest.fixture
def installed(monkeypatch):
    """MONAI Label as if it were installed: what is tested here comes before it is needed."""
    monkeypatch.setattr(installation, "check_installation", lambda: None)


def test_without_the_server_the_lines_to_install_it_are_printed(medseg_command, monkeypatch, tmp_path):
    monkeypatch.setattr(installation, "find_spec", lambda name: None if name == "monailabel" else object())
    outcome = medseg_command("label", "serve", "--studies", tmp_path)
    assert outcome.exit_code == 2
    (line,) = outcome.error_lines
    assert "pip install --no-deps monailabel==0.8.5" in line
    assert "(monailabel)" in line


def test_another_version_of_the_server_is_refused(monkeypatch):
    monkeypatch.setattr(installation, "find_spec", lambda name: object())
    monkeypatch.setattr(installation, "version", lambda name: "0.9.0")
    with pytest.raises(installation.SettingsError, match=r"monailabel 0\.9\.0 is installed"):
        check_installation()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.4", "::", "hospital.example"])
def test_an_address_that_others_reach_needs_a_token(medseg_command, installed, tmp_path, host):
    outcome = medseg_command("label", "serve", "--studies", tmp_path, "--host", host)
    assert outcome.exit_code == 2
    assert "--token" in outcome.error_lines[0]


def test_a_short_token_is_refused(medseg_command, installed, tmp_path):
    outcome = medseg_command("label", "serve", "--studies", tmp_path, "--token", "secret")
    assert outcome.exit_code == 2
    assert "16" in outcome.error_lines[0]


def test_studies_that_are_no_folder_are_refused(medseg_command, installed, tmp_path):
    outcome = medseg_command("label", "serve", "--studies", tmp_path / "absent")
    assert outcome.exit_code == 2
    assert "--studies" in outcome.error_lines[0]


def test_a_model_that_was_named_and_has_no_weights_is_refused(medseg_command, installed, tmp_path, tiny_bundle):
    outcome = medseg_command("label", "serve", "swin_unetr_btcv", "--studies", tmp_path)
    assert outcome.exit_code == 2
    assert "swin_unetr_btcv has no weights" in outcome.error_lines[0]


def test_without_names_models_without_weights_are_left_out_with_the_reason():
    chosen, skipped = launch.choose_bundles([])
    assert {"swin_unetr_hippocampus", "transunet_hippocampus"} <= {one.name for one in chosen}
    assert ("swin_unetr_btcv", "it has no weights here") in {(one.name, one.reason) for one in skipped}


def test_what_stands_in_for_a_package_is_found_only_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(installation, "_can_be_imported", lambda name: name == "torchvision")
    (folder,) = stand_in_folders()
    assert (folder / "pydicom_seg" / "__init__.py").is_file()


def test_a_model_without_trainings_has_one_version_and_nothing_to_go_back_to(medseg_command, tiny_bundle, tmp_path):
    outcome = medseg_command("--json", "label", "versions", tiny_bundle, "--work-folder", tmp_path)
    assert json.loads(outcome.out) == {"current": 0, "versions": []}
    outcome = medseg_command("label", "rollback", tiny_bundle, "--work-folder", tmp_path)
    assert outcome.exit_code == 2
    assert "no earlier version" in outcome.error_lines[0]
    outcome = medseg_command("label", "promote", tiny_bundle, "3", "--work-folder", tmp_path)
    assert outcome.exit_code == 2


def test_versions_of_which_server_must_be_said(medseg_command, tiny_bundle):
    outcome = medseg_command("label", "versions", tiny_bundle)
    assert outcome.exit_code == 2
    assert "--work-folder" in outcome.error_lines[0]
