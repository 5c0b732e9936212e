"""Verification: every check of a whole bundle passes, and each kind of damage fails its own check and no other."""

import json

import pytest

from medseg.bundle import Bundle, find_bundles, load_bundle, verify_bundle

SCHEMA, AGREEMENT, LABELS, PARTS, WEIGHTS, FORWARD, LICENCE = (
    "metadata follows the schema",
    "metadata agrees with inference.yaml",
    "labels",
    "preprocessing, inferer and postprocessing can be built",
    "weights fit the network",
    "network takes the window and gives one channel a label or region",
    "licence",
)


@pytest.fixture
def whole(folder) -> Bundle:
    """The tiny bundle with metadata that agree with it."""
    path = folder / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    for part in ("inputs", "outputs"):
        for entry in metadata["network_data_format"][part].values():
            entry["spatial_shape"] = [16, 16, 16]
    path.write_text(json.dumps(metadata))
    return load_bundle(folder)


def failures(bundle: Bundle) -> dict[str, str]:
    checks = verify_bundle(bundle)
    assert [check.name for check in checks] == [SCHEMA, AGREEMENT, LABELS, PARTS, WEIGHTS, FORWARD, LICENCE]
    assert all("\n" not in check.found for check in checks)
    return {check.name: check.found for check in checks if not check.is_passed}


@pytest.mark.parametrize("name", sorted(find_bundles()))
def test_every_bundle_that_medseg_brings_along_is_whole(name):
    bundle = load_bundle(name)
    if not bundle.weights_path.is_file():
        pytest.skip(f"{name} has no weights in this checkout")
    assert failures(bundle) == {}


def test_the_tiny_bundle_is_whole(whole):
    assert failures(whole) == {}


def test_metadata_outside_the_schema_fail(whole):
    whole.metadata["version"] = "first"
    assert failures(whole).keys() == {SCHEMA}
    assert failures(whole)[SCHEMA].startswith("version: 'first'")


def test_metadata_that_say_something_else_fail(whole):
    whole.metadata["network_data_format"]["outputs"]["pred"]["num_channels"] = 4
    assert failures(whole) == {
        AGREEMENT: "network_data_format.outputs.pred.num_channels is 4: 3 follows from inference.yaml"
    }


def test_labels_with_a_gap_fail(whole):
    whole.config["labels"][1]["index"] = 5
    found = failures(whole)
    assert found[LABELS] == "labels [1, 5] found: 1 to 2 without a gap were expected."
    assert found.keys() == {LABELS}


@pytest.mark.parametrize("part", ["preprocessing", "inferer", "postprocessing"])
def test_a_part_that_cannot_be_built_fails(whole, part):
    whole.config[part] = {"_target_": "NoSuchThing"}
    assert failures(whole).keys() == {PARTS}


def test_weights_of_another_network_fail(whole):
    whole.config["network_def"]["channels"] = [2, 4]
    assert failures(whole).keys() == {WEIGHTS, FORWARD}


def test_a_network_with_too_few_channels_fails(whole, folder):
    whole.config["labels"].append({"index": 3, "name": "third", "color": [0, 0, 0]})
    whole.config.pop("label_schema")
    found = failures(whole)
    assert found.keys() == {AGREEMENT, FORWARD}
    assert found[FORWARD] == "the network gives (1, 3, 16, 16, 16) for one window: (1, 4, 16, 16, 16) was expected."


def test_a_window_that_the_network_refuses_fails(whole):
    whole.config["channels"].append({"name": "T2", "modality": "MR"})
    found = failures(whole)
    assert found.keys() == {AGREEMENT, FORWARD}
    assert found[FORWARD].startswith("the network refuses one window (1, 2, 16, 16, 16): RuntimeError: ")


@pytest.mark.parametrize("key", ["roi_size", "labels", "channels"])
def test_a_bundle_that_does_not_name_what_medseg_needs_fails_and_does_not_stop(whole, key):
    del whole.config[key]
    assert f"bundle tiny has no '{key}' in its configuration" in failures(whole)[FORWARD]


def test_a_bundle_without_licence_fails(whole):
    (whole.folder / "docs" / "data_license.txt").unlink()
    assert failures(whole) == {
        LICENCE: "docs/data_license.txt is missing: say there under which terms model and data may be used."
    }


@pytest.mark.parametrize("size", ["$[16] * 3", 16])
def test_a_window_that_is_no_list_of_numbers_fails_and_does_not_stop(whole, size):
    assert "a list of whole numbers was expected" in failures(whole.with_config(roi_size=size))[FORWARD]
