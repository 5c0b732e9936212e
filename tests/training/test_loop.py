"""The loop: the same weights with and without interruptions, and no training over another."""

import json
import math
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from medseg.bundle import Bundle, load_weights
from medseg.data import DataManifest
from medseg.errors import BundleError, DataError, OutputError, RunError
from medseg.networks.dformer import DFormerConfig
from medseg.training import TrainingResult, train, with_settings
from medseg.training.checkpoint import read_checkpoint, write_checkpoint
from medseg.training.dataset import Batches
from medseg.training.history import read_events

CPU = torch.device("cpu")

TRAIN_IN_ANOTHER_PROCESS = """
import sys
from pathlib import Path

import torch

from medseg.bundle import load_bundle
from medseg.data import load_manifest
from medseg.training import train

bundle, data, output, threads = sys.argv[1:]
torch.set_num_threads(int(threads))
train(
    load_bundle(bundle, overlays=("train",)),
    load_manifest(Path(data) / "blocks.json"),
    data_root=Path(data),
    output=Path(output),
    device=torch.device("cpu"),
    progress=lambda stage, done, total: print(stage, done, flush=True),
)
"""


class StoppedError(Exception):
    """Stands for whatever stops a training."""


def interrupt_at(step: int):
    """A listener that stops the training after this step."""

    def listen(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("train", step):
            raise StoppedError

    return listen


@pytest.fixture(scope="module")
def undisturbed(bundle, manifest, training_data, tmp_path_factory) -> tuple[Path, TrainingResult]:
    """The folder of a training that nothing interrupted, and its result."""
    output = tmp_path_factory.mktemp("undisturbed")
    return output, train(bundle, manifest, data_root=training_data, output=output, device=CPU)


def log_without_times(output: Path) -> list[dict]:
    return [
        {key: value for key, value in event.items() if key != "elapsed_s"}
        for event in read_events(output / "log.jsonl")
    ]


def assert_same_training(output: Path, expected: Path) -> None:
    """Weights, averages, optimiser, learning rate, log: bit for bit, as if nothing had happened."""
    assert (output / "model.safetensors").read_bytes() == (expected / "model.safetensors").read_bytes()
    found, wanted = read_checkpoint(output / "checkpoint.pt"), read_checkpoint(expected / "checkpoint.pt")
    for part in ("network", "average"):
        for name, value in getattr(wanted, part).items():
            assert torch.equal(getattr(found, part)[name], value), f"{part} {name}"
    for number, moments in wanted.optimizer["state"].items():
        assert all(torch.equal(found.optimizer["state"][number][name], value) for name, value in moments.items())
    assert found.lr_scheduler == wanted.lr_scheduler
    assert (found.step, found.best_step, found.best_dice) == (wanted.step, wanted.best_step, wanted.best_dice)
    assert log_without_times(output) == log_without_times(expected)


def test_a_training_leaves_weights_checkpoint_log_and_curves(undisturbed, bundle):
    output, result = undisturbed
    assert sorted(path.name for path in output.iterdir()) == [
        "checkpoint.pt",
        "curves.png",
        "log.jsonl",
        "model.safetensors",
    ]
    assert sorted(result.files) == sorted(output.iterdir())
    assert result.steps == 12
    assert result.best_step in {6, 12}
    events = read_events(output / "log.jsonl")
    assert [(event["step"], "dice" in event) for event in events] == [(6, True), (10, False), (12, True)]
    best = max(event["mean_dice"] for event in events if "dice" in event)
    assert result.best_dice == pytest.approx(best, abs=1e-5)
    network = bundle.build("network", bundle.parser(device=CPU))
    load_weights(network, output / "model.safetensors")


def test_the_same_recipe_gives_the_same_training_again(undisturbed, bundle, manifest, training_data, tmp_path):
    torch.manual_seed(99)  # what the process did before does not matter
    train(bundle, manifest, data_root=training_data, output=tmp_path, device=CPU)
    assert_same_training(tmp_path, undisturbed[0])


@pytest.mark.parametrize("step", [4, 7, 11])
def test_an_interrupted_training_goes_on_as_if_nothing_had_happened(
    step, undisturbed, bundle, manifest, training_data, tmp_path
):
    with pytest.raises(StoppedError):
        train(bundle, manifest, data_root=training_data, output=tmp_path, device=CPU, progress=interrupt_at(step))
    torch.manual_seed(99)
    train(bundle, manifest, data_root=training_data, output=tmp_path, device=CPU, resume=True)
    assert_same_training(tmp_path, undisturbed[0])


def test_a_training_killed_at_any_moment_goes_on_as_if_nothing_had_happened(
    undisturbed, bundle, bundle_folder, manifest, training_data, tmp_path
):
    step, pause_s = random.randint(4, 11), random.uniform(0, 0.1)  # a failure prints both
    command = [sys.executable, "-c", TRAIN_IN_ANOTHER_PROCESS]
    words = [str(bundle_folder), str(training_data), str(tmp_path), str(torch.get_num_threads())]
    with subprocess.Popen([*command, *words], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.split() == ["train", str(step)]:
                break
        try:
            process.wait(timeout=pause_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
    assert process.returncode in {0, -signal.SIGKILL}, f"killed after step {step} and {pause_s} s"
    train(bundle, manifest, data_root=training_data, output=tmp_path, device=CPU, resume=True)
    assert_same_training(tmp_path, undisturbed[0])


def test_a_training_killed_before_its_first_checkpoint_starts_anew(bundle, manifest, training_data, tmp_path):
    short = with_settings(bundle, ["steps=2", "validate_every=1"])
    (tmp_path / "log.jsonl").write_text('{"step": 1, "loss": 123.0}\n')
    with pytest.raises(DataError, match="start the training without --resume"):
        train(short, manifest, data_root=training_data, output=tmp_path, device=CPU, resume=True)
    train(short, manifest, data_root=training_data, output=tmp_path, device=CPU)
    assert [event["step"] for event in read_events(tmp_path / "log.jsonl")] == [1, 2]
    assert all("loss" not in event for event in read_events(tmp_path / "log.jsonl"))


@pytest.mark.parametrize("step", [1, 3])
def test_a_training_killed_between_its_first_weights_and_its_next_checkpoint_goes_on(
    step, bundle, manifest, training_data, tmp_path
):
    often = with_settings(bundle, ["validate_every=1", "checkpoint_every=8"])
    arguments = {"data_root": training_data, "device": CPU}
    with pytest.raises(StoppedError):
        train(often, manifest, output=tmp_path / "killed", progress=interrupt_at(step), **arguments)
    assert (tmp_path / "killed" / "model.safetensors").exists()
    train(often, manifest, output=tmp_path / "killed", resume=True, **arguments)
    train(often, manifest, output=tmp_path / "undisturbed", **arguments)
    assert_same_training(tmp_path / "killed", tmp_path / "undisturbed")


def test_what_a_killed_training_left_half_written_is_gone_after_resuming(undisturbed, bundle, manifest, training_data):
    output, _ = undisturbed
    leftover = output / ".0123456789ab.partial"
    leftover.write_bytes(b"half a checkpoint")
    train(bundle, manifest, data_root=training_data, output=output, device=CPU, resume=True)
    assert not leftover.exists()


def test_a_finished_training_resumes_to_the_same_result(undisturbed, bundle, manifest, training_data):
    output, result = undisturbed
    before = (output / "model.safetensors").read_bytes()
    again = train(bundle, manifest, data_root=training_data, output=output, device=CPU, resume=True)
    assert again == result
    assert (output / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("steps=13", r"the setting steps \(12, now 13\)"),
        ("seed=8", r"the setting seed \(7, now 8\)"),
        ("batch_size=1", r"the setting batch_size \(2, now 1\)"),
        ("patience=3", r"the setting patience \(absent, now 3\)"),
    ],
)
def test_resuming_with_another_setting_is_refused_by_its_name(
    override, named, undisturbed, bundle, manifest, training_data
):
    other = with_settings(bundle, [override])
    with pytest.raises(BundleError, match=f"cannot be gone on with, something is no longer as it was: {named}. Rest"):
        train(other, manifest, data_root=training_data, output=undisturbed[0], device=CPU, resume=True)


def test_resuming_with_another_network_split_or_label_table_is_refused(undisturbed, bundle, manifest, training_data):
    def gone_on_with(recipe: Bundle, data: DataManifest) -> None:
        train(recipe, data, data_root=training_data, output=undisturbed[0], device=CPU, resume=True)

    wider = bundle.with_config(network_def={**bundle.config["network_def"], "channels": [8, 16]})
    with pytest.raises(BundleError, match=r"no longer as it was: network_def\."):
        gone_on_with(wider, manifest)
    content = manifest.model_dump() | {"splits": {"train": ["case_0", "case_1", "case_2", "case_3"]}}
    with pytest.raises(BundleError, match=r"no longer as it was: the split\."):
        gone_on_with(bundle, DataManifest.from_mapping(content, source="test"))
    content = manifest.model_dump()
    first, second = content["labels"]
    first["name"], second["name"] = second["name"], first["name"]
    with pytest.raises(BundleError, match=r"no longer as it was: the data set's labels\."):
        gone_on_with(bundle, DataManifest.from_mapping(content, source="test"))


@pytest.mark.parametrize(
    ("folder", "case_id"), [("imagesTr", "case_0"), ("labelsTr", "case_1"), ("labelsTr", "case_3")]
)
def test_resuming_with_a_scan_or_labels_that_were_changed_is_refused(
    folder, case_id, undisturbed, bundle, manifest, training_data, tmp_path
):
    shutil.copytree(training_data, tmp_path / "data")
    path = tmp_path / "data" / "Blocks" / folder / f"{case_id}.nii.gz"
    stored = nib.load(path)
    values = np.array(stored.dataobj)
    values[values == 1] = 2
    values[0, 0, 0] += 1
    nib.save(nib.Nifti1Image(values, stored.affine), path)
    with pytest.raises(BundleError, match=rf"no longer as it was: the scan or labels of {case_id}\."):
        train(bundle, manifest, data_root=tmp_path / "data", output=undisturbed[0], device=CPU, resume=True)


def test_the_same_data_in_another_place_are_the_same(undisturbed, bundle, manifest, training_data, tmp_path):
    shutil.copytree(training_data, tmp_path / "data")
    again = train(bundle, manifest, data_root=tmp_path / "data", output=undisturbed[0], device=CPU, resume=True)
    assert again == undisturbed[1]


def test_going_on_with_another_device_is_told(undisturbed, bundle, manifest, training_data, tmp_path):
    shutil.copytree(undisturbed[0], tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.pt"
    assert read_checkpoint(path).device == "cpu"
    write_checkpoint(replace(read_checkpoint(path), device="cuda"), path)
    result = train(bundle, manifest, data_root=training_data, output=tmp_path / "run", device=CPU, resume=True)
    (warning,) = result.warnings
    assert warning.startswith("the first 12 steps were computed on cuda, the others on cpu")


def test_a_checkpoint_from_before_its_parts_were_kept_goes_on_by_its_fingerprint(
    undisturbed, bundle, manifest, training_data, tmp_path
):
    shutil.copytree(undisturbed[0], tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.pt"
    write_checkpoint(replace(read_checkpoint(path), identity={}), path)
    arguments = {"data_root": training_data, "output": tmp_path / "run", "device": CPU, "resume": True}
    assert train(bundle, manifest, **arguments).steps == 12
    write_checkpoint(replace(read_checkpoint(path), identity={}), path)
    with pytest.raises(BundleError, match="as it was: the configuration, the split or the torch version"):
        train(with_settings(bundle, ["seed=8"]), manifest, **arguments)


@pytest.mark.parametrize("name", ["checkpoint.pt", "model.safetensors"])
def test_a_folder_that_holds_a_training_or_weights_is_refused(name, bundle, manifest, training_data, tmp_path):
    (tmp_path / name).write_bytes(b"precious")
    ways = "go on with it by --resume, or choose" if name == "checkpoint.pt" else "choose"
    with pytest.raises(OutputError, match=rf"already holds a training \({name}\): {ways} another folder"):
        train(bundle, manifest, data_root=training_data, output=tmp_path, device=CPU)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"precious"


def test_an_output_that_cannot_be_a_folder_is_refused(bundle, manifest, training_data, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="taken cannot be made"):
        train(bundle, manifest, data_root=training_data, output=tmp_path / "taken", device=CPU)


def test_a_loss_that_is_no_number_stops_the_training(bundle, manifest, training_data, tmp_path):
    broken = replace(bundle, config={**bundle.config, "loss": "$lambda logits, labels: (logits * float('nan')).mean()"})
    with pytest.raises(RunError, match="the loss is nan after 0 steps: lower the learning rate"):
        train(broken, manifest, data_root=training_data, output=tmp_path, device=CPU)


@pytest.mark.parametrize("steps", [1, 3])
def test_a_gradient_that_is_no_number_stops_the_training_before_it_reaches_the_weights(
    steps, bundle, manifest, training_data, tmp_path
):
    """The root of 0 is a number, and its slope is not: after one step all weights would be lost, and kept."""
    broken = replace(bundle, built={"loss": lambda logits, labels: (0 * (logits + labels)).mean().abs().sqrt() + 1})
    alone = DataManifest.from_mapping(manifest.model_dump() | {"splits": {"train": ["case_0"]}}, source="test")
    short = with_settings(broken, [f"steps={steps}", "checkpoint_every=1"])
    with pytest.raises(RunError, match="the gradient is nan after 0 steps, though the loss is a number"):
        train(short, alone, data_root=training_data, output=tmp_path, device=CPU)
    assert not (tmp_path / "model.safetensors").exists()
    assert read_checkpoint(tmp_path / "checkpoint.pt").step == 0


def test_where_no_validation_case_holds_a_label_the_last_weights_are_kept_and_it_is_told(
    bundle, manifest, training_data, tmp_path
):
    shutil.copytree(training_data, tmp_path / "data")
    path = tmp_path / "data" / "Blocks" / "labelsTr" / "case_3.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((20, 18, 17), np.uint8), nib.load(path).affine), path)
    often = with_settings(bundle, ["validate_every=1", "patience=2"])
    result = train(often, manifest, data_root=tmp_path / "data", output=tmp_path / "run", device=CPU)
    assert result.warnings[0].startswith("no validation case holds a label")
    assert (result.steps, result.best_step) == (12, 12)
    assert math.isnan(result.best_dice)
    network = load_weights(bundle.build("network", bundle.parser(device=CPU)), tmp_path / "run" / "model.safetensors")
    last = read_checkpoint(tmp_path / "run" / "checkpoint.pt").average
    assert all(torch.equal(value, last[key].half().float()) for key, value in network.state_dict().items())


def test_every_file_that_a_short_training_names_is_there(bundle, manifest, training_data, tmp_path):
    alone = DataManifest.from_mapping(manifest.model_dump() | {"splits": {"train": ["case_0"]}}, source="test")
    result = train(with_settings(bundle, ["steps=2"]), alone, data_root=training_data, output=tmp_path, device=CPU)
    assert sorted(result.files) == sorted(tmp_path.iterdir())


def test_a_training_goes_on_from_given_weights_in_a_cycle_of_its_own(
    undisturbed, bundle, manifest, training_data, tmp_path
):
    weights = undisturbed[0] / "model.safetensors"
    settings = [f"start={weights}", "steps=1", "learning_rate=1e-9"]
    train(with_settings(bundle, settings), manifest, data_root=training_data, output=tmp_path, device=CPU)
    given, trained = (
        load_weights(bundle.build("network_def", bundle.parser(device=CPU)), path)
        for path in (weights, tmp_path / "model.safetensors")
    )
    for key, value in given.state_dict().items():
        torch.testing.assert_close(trained.state_dict()[key], value, msg=key)


def test_of_the_weights_to_start_from_their_values_count_and_not_their_place(
    undisturbed, bundle, manifest, training_data, tmp_path
):
    def go_on_from(name: str, *, resume: bool = True) -> TrainingResult:
        recipe = with_settings(bundle, [f"start={tmp_path / name}", "steps=3", "ema_decay=0"])
        return train(recipe, manifest, data_root=training_data, output=tmp_path / "run", device=CPU, resume=resume)

    shutil.copy(undisturbed[0] / "model.safetensors", tmp_path / "here.safetensors")
    shutil.copy(undisturbed[0] / "model.safetensors", tmp_path / "there.safetensors")
    go_on_from("here.safetensors", resume=False)
    assert go_on_from("there.safetensors").steps == 3
    shutil.copy(tmp_path / "run" / "model.safetensors", tmp_path / "others.safetensors")
    with pytest.raises(BundleError, match=r"no longer as it was: the weights to start from\."):
        go_on_from("others.safetensors")


def test_weights_to_start_from_that_are_not_there_are_refused(bundle, manifest, training_data, tmp_path):
    with pytest.raises(BundleError, match=r"no weights lost\.safetensors to start from"):
        changed = with_settings(bundle, ["start=lost.safetensors"])
        train(changed, manifest, data_root=training_data, output=tmp_path, device=CPU)


def with_two_heads(bundle):
    network = {
        "_target_": "medseg.networks.DFormer",
        "config": DFormerConfig.tiny().model_copy(update={"out_channels": 3}).model_dump(mode="json"),
    }
    return replace(bundle, config={**bundle.config, "network_def": network})


def test_with_deep_supervision_every_head_is_trained(bundle, manifest, training_data, tmp_path):
    loss = {"_target_": "monai.losses.DeepSupervisionLoss", "loss": bundle.config["loss"]}
    changed = with_two_heads(bundle).with_config(loss=loss)
    changed = with_settings(changed, ["steps=2", "deep_supervision=true", "learning_rate=1"])
    train(changed, manifest, data_root=training_data, output=tmp_path, device=CPU)
    with torch.random.fork_rng():
        torch.manual_seed(changed.config["training"]["seed"])
        before = changed.build("network_def", changed.parser(device=CPU)).state_dict()
    after = read_checkpoint(tmp_path / "checkpoint.pt").network
    heads = [name for name in before if name.startswith("logits.1.")]
    assert heads
    assert not any(torch.equal(before[name], after[name]) for name in heads)


def test_deep_supervision_of_a_network_with_one_head_is_refused(bundle, manifest, training_data, tmp_path):
    with pytest.raises(BundleError, match="deep_supervision needs a network with several heads, UNet has one"):
        changed = with_settings(bundle, ["deep_supervision=true"])
        train(changed, manifest, data_root=training_data, output=tmp_path, device=CPU)


def test_a_loss_of_one_head_is_refused_the_logits_of_several(bundle, manifest, training_data, tmp_path):
    changed = with_settings(with_two_heads(bundle), ["steps=2", "deep_supervision=true"])
    with pytest.raises(
        BundleError, match="the logits of 2 heads, and DiceCELoss takes those of one: put it into a Deep"
    ):
        train(changed, manifest, data_root=training_data, output=tmp_path, device=CPU)


def test_without_validation_cases_the_last_average_is_kept(bundle, manifest, training_data, tmp_path):
    content = manifest.model_dump() | {"splits": {"train": ["case_0", "case_1"]}}
    alone = DataManifest.from_mapping(content, source="test")
    short = with_settings(bundle, ["steps=3", "validate_every=1"])
    result = train(short, alone, data_root=training_data, output=tmp_path, device=CPU)
    (warning,) = result.warnings
    assert warning.startswith("there are no validation cases, so there is nothing to choose by")
    assert math.isnan(result.best_dice)
    assert result.best_step == 3
    network = load_weights(bundle.build("network", bundle.parser(device=CPU)), tmp_path / "model.safetensors")
    last = read_checkpoint(tmp_path / "checkpoint.pt").average
    assert all(torch.equal(value, last[key].half().float()) for key, value in network.state_dict().items())


def test_a_log_is_valid_json_even_where_a_label_was_not_there(bundle, manifest, training_data, tmp_path):
    spare = {"index": 3, "name": "nowhere", "color": (0, 0, 0), "concept": None}
    labels = [*manifest.model_dump()["labels"], spare]
    wider = DataManifest.from_mapping(manifest.model_dump() | {"labels": labels}, source="test")
    network = {**bundle.config["network_def"], "out_channels": 4}
    config = {
        **bundle.config,
        "label_schema": None,
        "labels": [*bundle.config["labels"], spare],
        "network_def": network,
    }
    short = with_settings(replace(bundle, config=config), ["steps=1"])
    train(short, wider, data_root=training_data, output=tmp_path, device=CPU)

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    for line in (tmp_path / "log.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=refuse)


def test_labels_or_channels_that_disagree_are_refused(bundle, manifest, training_data, tmp_path):
    def changed(**changes: object) -> Bundle:
        return replace(bundle, config={**bundle.config, "label_schema": None, **changes})

    entries = [dict(entry) for entry in bundle.config["labels"]]
    entries[0]["name"] = "amygdala"
    with pytest.raises(BundleError, match=r"agree on labels: label 1 \(anterior_hippocampus\) of blocks means nothing"):
        train(changed(labels=entries), manifest, data_root=training_data, output=tmp_path, device=CPU)
    more = [*bundle.config["labels"], {"index": 3, "name": "amygdala", "color": [0, 0, 0]}]
    with pytest.raises(BundleError, match=r"bundle tiny learns amygdala, which blocks does not have"):
        train(changed(labels=more), manifest, data_root=training_data, output=tmp_path, device=CPU)
    with pytest.raises(BundleError, match=r"bundle tiny takes channels \['T2'\], blocks has \['T1'\]"):
        train(
            changed(channels=[{"name": "T2", "modality": "MR"}]),
            manifest,
            data_root=training_data,
            output=tmp_path,
            device=CPU,
        )


def test_missing_scans_are_told_before_anything_is_written(bundle, manifest, tmp_path):
    with pytest.raises(DataError, match="holds no Blocks"):
        train(bundle, manifest, data_root=tmp_path, output=tmp_path / "out", device=CPU)
    assert list((tmp_path / "out").iterdir()) == []


def test_training_leaves_the_random_state_and_kernels_of_the_process_as_they_were(
    bundle, manifest, training_data, tmp_path
):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    train(with_settings(bundle, ["steps=1"]), manifest, data_root=training_data, output=tmp_path, device=CPU)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_training_runs_on_a_gpu(bundle, manifest, training_data, tmp_path):
    result = train(
        with_settings(bundle, ["steps=2"]),
        manifest,
        data_root=training_data,
        output=tmp_path,
        device=torch.device("cuda"),
    )
    assert result.steps == 2


def test_accumulated_batches_count_as_one(bundle, manifest, training_data, tmp_path):
    """Two batches of one scan are averaged to the same gradient, where the loss is a mean over samples."""
    config = {**bundle.config, "loss": {"_target_": "DiceCELoss", "to_onehot_y": True, "softmax": True}}
    config["network_def"] = {**config["network_def"], "dropout": 0.0}
    plain = replace(bundle, config=config)
    losses = []
    for name, settings in (("whole", ["batch_size=2"]), ("parts", ["batch_size=1", "accumulate=2"])):
        recipe = with_settings(plain, [*settings, "steps=10"])
        train(recipe, manifest, data_root=training_data, output=tmp_path / name, device=CPU)
        losses.append(next(event["loss"] for event in read_events(tmp_path / name / "log.jsonl") if "loss" in event))
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_training_ends_early_when_validation_no_longer_improves(bundle, manifest, training_data, tmp_path):
    settings = ["steps=40", "validate_every=2", "patience=2", "learning_rate=1e-30"]
    result = train(with_settings(bundle, settings), manifest, data_root=training_data, output=tmp_path, device=CPU)
    assert result.steps == result.best_step + 4
    assert result.steps < 40


def test_training_in_bfloat16_learns_like_float32(bundle, manifest, training_data, tmp_path):
    losses = []
    for precision in ("float32", "bfloat16"):
        recipe = with_settings(bundle, [f"precision={precision}"])
        train(recipe, manifest, data_root=training_data, output=tmp_path / precision, device=CPU)
        losses.append(next(e["loss"] for e in read_events(tmp_path / precision / "log.jsonl") if "loss" in e))
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


@pytest.mark.parametrize("setting", ["workers=2", "cache_gb=0", "cache_gb=0.00003", "tensorboard=true"])
def test_how_data_are_kept_and_shown_does_not_change_the_training(
    setting, undisturbed, bundle, manifest, training_data, tmp_path
):
    train(with_settings(bundle, [setting]), manifest, data_root=training_data, output=tmp_path, device=CPU)
    assert not list(tmp_path.glob("cache*"))
    assert (tmp_path / "tensorboard").is_dir() == setting.startswith("tensorboard")
    for part in ("network", "average"):
        found, expected = (
            getattr(read_checkpoint(folder / "checkpoint.pt"), part) for folder in (tmp_path, undisturbed[0])
        )
        assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert log_without_times(tmp_path) == log_without_times(undisturbed[0])


def test_a_training_may_go_on_with_another_number_of_threads(undisturbed, bundle, manifest, training_data, tmp_path):
    with pytest.raises(StoppedError):
        train(bundle, manifest, data_root=training_data, output=tmp_path, device=CPU, progress=interrupt_at(9))
    threaded = with_settings(bundle, ["workers=2"])
    train(threaded, manifest, data_root=training_data, output=tmp_path, device=CPU, resume=True)
    assert_same_training(tmp_path, undisturbed[0])


def test_a_training_that_waits_for_its_data_says_what_to_do(bundle, manifest, training_data, tmp_path, monkeypatch):
    draw = Batches.at

    def slowly(self: Batches, step: int):
        time.sleep(0.4)  # much longer than a step takes, on a busy machine too
        return draw(self, step)

    monkeypatch.setattr(Batches, "at", slowly)
    monkeypatch.setattr("medseg.training.loop.DATA_BOUND_AFTER", 5)
    poor = with_settings(bundle, ["cache_gb=0"])
    result = train(poor, manifest, data_root=training_data, output=tmp_path, device=CPU)
    (warning,) = result.warnings
    assert warning.startswith("learning waits for data ")
    assert "--set workers=2" in warning
    assert "--set cache_gb" in warning
    assert [event["step"] for event in read_events(tmp_path / "log.jsonl") if "warning" in event] == [5]
