"""The numbers of a training, and replacing them from the command line."""

import pytest
import torch

from medseg.bundle import load_bundle, parse_settings
from medseg.errors import BundleError, SettingsError
from medseg.training import with_settings


def test_an_override_replaces_one_number_and_leaves_the_bundle_as_it_was(bundle):
    changed = with_settings(bundle, ["steps=200", "ema_decay=0.5"])
    section = parse_settings(changed, "training")
    assert (section["steps"], section["ema_decay"], section["batch_size"]) == (200, 0.5, 2)
    assert parse_settings(bundle, "training")["steps"] == 12


def test_the_learning_rate_follows_an_override_of_the_steps(bundle):
    assert with_settings(bundle, ["steps=200"]).config["lr_scheduler"]["t_total"] == "$@training['steps']"


def test_the_optimizer_takes_the_learning_rate_of_the_section(bundle):
    changed = with_settings(bundle, ["learning_rate=25e-2"])
    optimizer = changed.build("optimizer", changed.parser(device=torch.device("cpu")))
    assert optimizer.defaults["lr"] == 0.25


@pytest.mark.parametrize("override", ["steps", "speed=3", "=3", ""])
def test_what_is_no_training_setting_is_refused_with_those_there_are(bundle, override):
    with pytest.raises(SettingsError, match=f"--set {override}: expected key=value with one of steps, batch_size"):
        with_settings(bundle, [override])


@pytest.mark.parametrize(
    "override",
    ["steps=0", "steps=many", "ema_decay=1", "gradient_clip_norm=0", "seed=-1", "cache_gb=.inf", "learning_rate=.inf"],
)
def test_a_number_out_of_range_is_refused_by_name(bundle, override):
    with pytest.raises(SettingsError, match=f"--set: {override.partition('=')[0]}: "):
        with_settings(bundle, [override])


def test_a_bundle_without_a_recipe_is_refused(bundle_folder):
    with pytest.raises(BundleError, match="bundle tiny has no section 'training'"):
        with_settings(load_bundle(bundle_folder), [])
