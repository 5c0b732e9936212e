"""Checkpoints: whole or refused; weights in half precision, where they fit into it."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from medseg.bundle import load_weights
from medseg.errors import DataError, OutputError
from medseg.training.checkpoint import Checkpoint, read_checkpoint, write_checkpoint, write_weights


def checkpoint_of(step: int = 3) -> Checkpoint:
    network = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return Checkpoint(
        step=step,
        network=network.state_dict(),
        average={key: value.clone() for key, value in network.state_dict().items()},
        optimizer=optimizer.state_dict(),
        lr_scheduler={"last_epoch": step, "base_lrs": [0.1]},
        random_state=[torch.get_rng_state()],
        gradient_scaler={},
        best_dice=None,
        best_step=None,
        elapsed_s=1.5,
        fingerprint="abc",
        unlogged_losses=[0.1 + 0.2],
    )


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    written = checkpoint_of()
    write_checkpoint(written, tmp_path / "checkpoint.pt")
    read = read_checkpoint(tmp_path / "checkpoint.pt")
    for key in ("network", "average"):
        assert getattr(read, key).keys() == getattr(written, key).keys()
        assert all(torch.equal(value, getattr(written, key)[name]) for name, value in getattr(read, key).items())
    moments = read.optimizer["state"][0]["exp_avg"], written.optimizer["state"][0]["exp_avg"]
    assert torch.equal(*moments)
    assert torch.equal(read.random_state[0], written.random_state[0])
    plain = ("step", "lr_scheduler", "best_dice", "best_step", "elapsed_s", "fingerprint", "unlogged_losses")
    assert all(getattr(read, name) == getattr(written, name) for name in plain)


def test_a_newer_checkpoint_takes_the_place_of_the_older(tmp_path):
    for step in (3, 4):
        write_checkpoint(checkpoint_of(step), tmp_path / "checkpoint.pt")
    assert read_checkpoint(tmp_path / "checkpoint.pt").step == 4
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_checkpoint_that_does_not_fit_on_the_disk_leaves_the_older_one_and_says_how_to_go_on(tmp_path):
    resource = pytest.importorskip("resource", reason="this system limits no file sizes")
    path = tmp_path / "checkpoint.pt"

    def write_with_too_little_room(step: int) -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
        try:
            write_checkpoint(checkpoint_of(step), path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    with pytest.raises(OutputError, match=r"checkpoint\.pt cannot be written whole .*: free space, and start again\."):
        write_with_too_little_room(3)
    assert list(tmp_path.iterdir()) == []
    write_checkpoint(checkpoint_of(3), path)
    with pytest.raises(OutputError, match=r"cannot be written whole .*: free space, and go on with --resume\."):
        write_with_too_little_room(4)
    assert read_checkpoint(path).step == 3


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_checkpoint_cut_short_is_refused(tmp_path, share):
    path = tmp_path / "checkpoint.pt"
    write_checkpoint(checkpoint_of(), path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(DataError, match=r"checkpoint.pt is no complete checkpoint .*: start anew in an empty folder"):
        read_checkpoint(path)


@pytest.mark.parametrize("content", [[1, 2], {"step": 3}, {"step": 3, "surprise": 1}, nn.Linear(1, 1)])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    path = tmp_path / "checkpoint.pt"
    torch.save(content, path)
    with pytest.raises(DataError, match=r"checkpoint.pt is no complete checkpoint"):
        read_checkpoint(path)


def test_a_text_file_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_text("no checkpoint at all")
    with pytest.raises(DataError, match=r"checkpoint.pt is no complete checkpoint"):
        read_checkpoint(path)


def test_a_missing_checkpoint_says_to_start_anew(tmp_path):
    with pytest.raises(DataError, match=r"no checkpoint.pt to resume from .*: start the training without --resume"):
        read_checkpoint(tmp_path / "checkpoint.pt")


def test_weights_are_kept_in_half_precision_without_counters(tmp_path):
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2))
    write_weights(network.state_dict(), tmp_path / "model.safetensors")
    kept = load_file(tmp_path / "model.safetensors")
    assert "1.num_batches_tracked" not in kept
    assert {value.dtype for value in kept.values()} == {torch.float16}
    again = load_weights(nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2)), tmp_path / "model.safetensors")
    assert torch.equal(again[0].weight, network[0].weight.half().float())


def test_values_beyond_half_precision_are_kept_as_they_are(tmp_path):
    network = nn.BatchNorm3d(2)
    network.running_var.fill_(1e6)
    write_weights(network.state_dict(), tmp_path / "model.safetensors")
    kept = load_file(tmp_path / "model.safetensors")
    assert kept["running_var"].dtype == torch.float32
    assert kept["weight"].dtype == torch.float16
    again = load_weights(nn.BatchNorm3d(2), tmp_path / "model.safetensors")
    assert again.running_var.tolist() == [1e6, 1e6]


def test_a_full_disk_is_told_and_leaves_the_older_checkpoint(tmp_path, request):
    older = checkpoint_of(step=3)
    write_checkpoint(older, tmp_path / "checkpoint.pt")
    request.getfixturevalue("full_disk")
    larger = replace(older, step=4, network={"weight": torch.zeros(100_000)})
    with pytest.raises(OutputError, match="free space, and go on with --resume"):
        write_checkpoint(larger, tmp_path / "checkpoint.pt")
    assert read_checkpoint(tmp_path / "checkpoint.pt").step == 3
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
