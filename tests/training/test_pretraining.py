"""Pretraining: labels are not needed, the loss falls, and training starts from all weights but the heads."""

import shutil

import pytest
import torch
from safetensors.torch import load_file

from medseg.bundle import load_bundle, load_weights
from medseg.errors import BundleError
from medseg.networks import DFormer
from medseg.networks.dformer import DFormerConfig
from medseg.training import MaskedReconstructionLoss, pretrain, train, with_settings
from medseg.training.heads import head_names, left_out_of
from medseg.training.history import read_events

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def recipe(bundle):
    return with_settings(bundle, ["steps=40", "learning_rate=0.01"])


@pytest.fixture(scope="module")
def pretrained(recipe, manifest, training_data, tmp_path_factory):
    """The folder of a pretraining on scans without labels."""
    scans = tmp_path_factory.mktemp("scans")
    shutil.copytree(training_data / "Blocks" / "imagesTr", scans / "Blocks" / "imagesTr")
    output = tmp_path_factory.mktemp("pretraining")
    return output, pretrain(recipe, manifest, data_root=scans, output=output, device=CPU)


def test_hidden_parts_are_restored_better_and_better_without_any_label(pretrained):
    output, result = pretrained
    assert result.files[0] == output / "pretrained.safetensors"
    losses = [event["loss"] for event in read_events(output / "log.jsonl") if "loss" in event]
    assert losses[-1] < 0.8 * losses[0]


def test_the_heads_are_left_out_and_the_file_says_so(pretrained, recipe):
    path = pretrained[1].files[0]
    heads = head_names(recipe)
    assert left_out_of(path) == heads
    network = recipe.build("network", recipe.parser(device=CPU))
    assert set(load_file(path)) | set(heads) == {
        key for key, value in network.state_dict().items() if value.is_floating_point()
    }
    with pytest.raises(BundleError, match=r"does not fit the network: parameters .* missing"):
        load_weights(network, path)


def test_training_starts_from_all_weights_but_the_heads(pretrained, recipe, manifest, training_data, tmp_path):
    path = pretrained[1].files[0]
    still = with_settings(recipe, [f"start={path}", "steps=1", "learning_rate=1e-12", "validate_every=1"])
    result = train(still, manifest, data_root=training_data, output=tmp_path, device=CPU)
    trained, start = load_file(result.files[0]), load_file(path)
    for key, value in start.items():
        if "running" not in key:
            assert torch.allclose(trained[key].float(), value.float(), atol=1e-3), key


def test_heads_are_found_in_our_networks_too(bundle):
    config = {"_target_": "medseg.networks.DFormer", "config": DFormerConfig.tiny().model_dump(mode="json")}
    ours = bundle.with_config(network_def=config)
    shapes = [
        {
            key: value.shape
            for key, value in DFormer(DFormerConfig.tiny().model_copy(update={"out_channels": n})).state_dict().items()
        }
        for n in (4, 5)
    ]
    assert head_names(ours) == sorted(key for key in shapes[0] if shapes[0][key] != shapes[1][key])
    assert head_names(ours)


def test_a_network_whose_output_cannot_be_changed_is_refused(bundle, manifest, training_data, tmp_path):
    fixed = bundle.with_config(network_def={"_target_": "torch.nn.Identity"})
    with pytest.raises(BundleError, match="names no out_channels"):
        pretrain(fixed, manifest, data_root=training_data, output=tmp_path, device=CPU)


def test_slices_are_pretrained_too(manifest, training_data, tmp_path):
    bundle = with_settings(
        load_bundle("att_swin_unet_hippocampus", overlays=("train",)), ["steps=1", "batch_size=1", "checkpoint_every=1"]
    )
    result = pretrain(bundle, manifest, data_root=training_data, output=tmp_path, device=CPU)
    network = bundle.build("network", bundle.parser(device=CPU))
    load_weights(network, result.files[0], left_out=left_out_of(result.files[0]))


def test_only_hidden_voxels_count():
    images, mask = torch.rand(2, 3, 4, 4, 4), torch.zeros(2, 1, 4, 4, 4)
    mask[:, :, :2] = 1
    predictions = images + torch.where(mask > 0, 0.5, 9.0)
    loss = MaskedReconstructionLoss()(predictions, torch.cat([images, mask], dim=1))
    assert loss == pytest.approx(0.5)
    with pytest.raises(ValueError, match="predictions have shape"):
        MaskedReconstructionLoss()(predictions[:, :1], torch.cat([images, mask], dim=1))
