"""The simulation on a data set of a few small scans: who is labelled when, and that it can be interrupted."""

import json

import pytest
import torch

from medseg.bundle import load_bundle
from medseg.data import DataManifest, load_manifest
from medseg.errors import DataError, SettingsError
from medseg.label.simulate import SimulationPlan, simulate

PLAN = SimulationPlan(
    strategies=("random", "diversity"), start=2, add=1, rounds=2, repeats=2, pool=5, test=2, steps=2, seed=1
)


@pytest.fixture(scope="module")
def data(tmp_path_factory, write_blocks):
    root = tmp_path_factory.mktemp("simulated")
    ids = [f"c{number}" for number in range(8)]
    for number, case_id in enumerate(ids):
        write_blocks(root / "images" / f"{case_id}.nii.gz", seed=number, labels=root / "labels" / f"{case_id}.nii.gz")
    hippocampus = load_manifest("msd_hippocampus")
    manifest = DataManifest.from_mapping(
        {
            "name": "blocks",
            "title": "Blocks",
            "folder": ".",
            "licence": "CC0-1.0",
            "citation": "none",
            "channels": [channel.model_dump() for channel in hippocampus.channels],
            "label_schema": "msd_hippocampus",
            "image": "images/{case_id}.nii.gz",
            "label": "labels/{case_id}.nii.gz",
            "cases": {case_id: {} for case_id in ids},
            "splits": {"train": ids[:6], "test": ids[6:]},
        },
        source="test",
    )
    return manifest, root


@pytest.fixture
def run(label_bundles, data, tmp_path):
    def call(plan=PLAN, **named):
        recipe = load_bundle(label_bundles["tiny"], overlays=("train",))
        manifest, root = data
        output = tmp_path / "out"
        return simulate(
            recipe, manifest, data_root=root, output=output, plan=plan, device=torch.device("cpu"), **named
        ), output

    return call


class _StoppedError(Exception):
    pass


def test_every_round_adds_cases_that_were_not_labelled_and_a_stopped_simulation_ends_alike(run):
    def stop_later(stage, done, total):
        if done == 3:
            raise _StoppedError

    with pytest.raises(_StoppedError):
        run(progress=stop_later)
    resumed, output = run()
    lines = [json.loads(line) for line in (output / "rounds.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * 2 * 2
    first = {(one["repeat"], tuple(one["labelled"])) for one in lines if one["round"] == 0}
    assert len(first) == 2  # of each repeat one, the same for both strategies
    for line in lines:
        assert len(line["labelled"]) == 2 + line["round"]
        assert not set(line["next"]) & set(line["labelled"])
    (output / "rounds.jsonl").unlink()
    assert run()[0] == resumed
    assert (output / "simulation.png").read_bytes()[:4] == b"\x89PNG"
    assert resumed["curves"]["diversity"][1]["labelled"] == 3
    assert resumed["curves"]["diversity"][0]["mean_against_random"] == 0  # the same cases


def test_a_strategy_that_is_unknown_is_refused(run):
    with pytest.raises(SettingsError, match="no strategy 'luck'"):
        run(PLAN.model_copy(update={"strategies": ("luck",)}))


def test_more_rounds_than_there_are_cases_are_refused(run):
    with pytest.raises(DataError, match="12 cases would be labelled"):
        run(PLAN.model_copy(update={"rounds": 11}))
