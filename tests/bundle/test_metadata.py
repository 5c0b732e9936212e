"""Metadata: derived from the configuration, and compared with it place by place."""

import copy
from dataclasses import replace

import pytest

from medseg.bundle import differences, load_bundle, metadata_schema, network_data_format
from medseg.errors import BundleError


def test_the_data_format_follows_from_channels_window_and_labels(bundle):
    found = network_data_format(bundle)
    image, pred = found["inputs"]["image"], found["outputs"]["pred"]
    assert (image["modality"], image["num_channels"], image["channel_def"]) == ("MR", 1, {"0": "T1"})
    assert pred["spatial_shape"] == [16, 16, 16]
    assert pred["num_channels"] == 3
    assert pred["channel_def"] == {"0": "background", "1": "anterior_hippocampus", "2": "posterior_hippocampus"}


def test_neighbouring_slices_are_channels_of_the_network(bundle):
    bundle.config["context_slices"] = 1
    bundle.config["roi_size"] = [64, 48]
    image = network_data_format(bundle)["inputs"]["image"]
    assert (image["num_channels"], image["spatial_shape"]) == (3, [64, 48])
    assert image["channel_def"] == {"0": "T1 -1", "1": "T1", "2": "T1 +1"}


def test_differences_name_their_place_on_both_sides():
    bundle = load_bundle("swin_unetr_hippocampus")
    assert differences(bundle) == []
    metadata = copy.deepcopy(dict(bundle.metadata))
    metadata["network_data_format"]["inputs"]["image"]["modality"] = "CT"
    metadata["network_data_format"]["inputs"]["image"]["extra"] = 1
    del metadata["network_data_format"]["outputs"]["pred"]["dtype"]
    place = "network_data_format"
    assert differences(replace(bundle, metadata=metadata)) == [
        f"{place}.inputs.image.extra is 1: None follows from inference.yaml",
        f"{place}.inputs.image.modality is 'CT': 'MR' follows from inference.yaml",
        f"{place}.outputs.pred.dtype is None: 'float32' follows from inference.yaml",
    ]


def test_metadata_without_a_data_format_differ(bundle):
    del bundle.metadata["network_data_format"]
    assert len(differences(bundle)) == 2


def test_a_bundle_without_a_window_has_no_data_format(bundle):
    del bundle.config["roi_size"]
    with pytest.raises(BundleError, match="bundle tiny has no 'roi_size'"):
        network_data_format(bundle)


def test_the_schema_is_one():
    assert metadata_schema()["type"] == "object"
