"""Files of weights in every published wrapping are opened; whatever is not plain weights is refused."""

import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from medseg.errors import SettingsError
from medseg.networks import load_released, network_names
from medseg.networks.checkpoints.release import known_importers, load_start, open_weights, read_settings
from medseg.networks.checkpoints.report import WeightsError

STATE = {"a.weight": torch.ones(2, 3), "b.bias": torch.zeros(1)}


def assert_state(found):
    assert found.keys() == STATE.keys()
    assert all(torch.equal(found[name], value) for name, value in STATE.items())


def written(path, content):
    if path.suffix == ".safetensors":
        save_file(content, path)
    elif path.suffix == ".npz":
        np.savez(path, **{name: value.numpy() for name, value in content.items()})
    elif path.suffix == ".zip":
        torch.save(content, path.with_suffix(".pt"))
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(path.with_suffix(".pt"), "fold0/model.pt")
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.ckpt", "w.zip", "w.safetensors", "w.npz"])
def test_every_published_format_is_read(name, tmp_path):
    assert_state(open_weights(written(tmp_path / name, STATE)))


def test_torchs_own_archive_may_be_called_zip(tmp_path):
    torch.save(STATE, tmp_path / "w.zip")
    assert_state(open_weights(str(tmp_path / "w.zip")))


@pytest.mark.parametrize("container", ["state_dict", "model_state_dict", "model", "net", "network"])
def test_the_wrapping_of_a_training_script_is_taken_off(container, tmp_path):
    wrapped = {container: {f"module.{name}": value for name, value in STATE.items()}, "epoch": 300, "optimizer": {}}
    assert_state(open_weights(written(tmp_path / "w.pt", wrapped)))


def test_a_score_kept_as_a_numpy_number_does_no_harm(tmp_path):
    content = {"state_dict": STATE, "best_acc": np.float64(0.9), "loss": np.float32(1), "epoch": np.int64(3)}
    assert_state(open_weights(written(tmp_path / "w.pt", content)))


def test_a_prefix_that_not_all_names_share_is_left_alone():
    state = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert open_weights(state).keys() == state.keys()


def test_notes_beside_the_weights_are_no_weights():
    assert_state(open_weights({**STATE, "__input__": torch.ones(1)}))


class Harmless:
    """An object that is no tensor; were it allowed, so would one be that is not harmless."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": STATE, "args": Harmless()}, "cannot be read as plain weights"),
        ([1, 2], "holds a list"),
        ({"epoch": 3}, "No tensors found .*epoch"),
    ],
)
def test_a_file_that_holds_something_else_is_refused(content, message, tmp_path):
    with pytest.raises(WeightsError, match=message):
        open_weights(written(tmp_path / "w.pt", content))


def test_a_damaged_file_is_refused(tmp_path):
    path = written(tmp_path / "w.pt", STATE)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(WeightsError, match=r"w\.pt cannot be read"):
        open_weights(path)


def test_an_archive_with_two_files_of_weights_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.writestr("fold0/model.pt", b"")
        archive.writestr("fold1/model.pt", b"")
    with pytest.raises(WeightsError, match="holds 2 files of weights"):
        open_weights(tmp_path / "w.zip")


@pytest.mark.parametrize(("name", "message"), [("absent.pt", "is not a file"), ("w.txt", "unknown kind")])
def test_what_is_no_file_of_weights_is_refused(name, message, tmp_path):
    (tmp_path / "w.txt").write_text("weights", encoding="utf-8")
    with pytest.raises(WeightsError, match=message):
        open_weights(tmp_path / name)


def test_every_network_has_an_importer():
    assert known_importers() == network_names()


def test_an_unknown_network_is_refused_with_the_known_ones():
    with pytest.raises(SettingsError, match=r"'unet'.*swin_unetr"):
        load_released("unet", STATE, {})


def test_unknown_start_weights_are_refused_with_the_known_ones():
    with pytest.raises(SettingsError, match=r"'imagenet'.*self_supervised"):
        load_start("swin_unetr", torch.nn.Identity(), STATE, start="imagenet")


def test_unknown_settings_are_refused_with_the_known_ones():
    assert read_settings({"a": 1}, ["a", "b"], network="n") == {"a": 1}
    with pytest.raises(SettingsError, match=r"n: unknown settings c, d\..*a, b"):
        read_settings({"a": 1, "d": 2, "c": 3}, ["a", "b"], network="n")
