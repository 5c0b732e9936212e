"""Settings: unknown keys and values out of range are refused with the key, what was found and what is allowed."""

import pytest
from pydantic import Field, ValidationError, model_validator

from medseg.errors import SettingsError
from medseg.settings import Settings


class Recipe(Settings):
    """Settings for these tests."""

    steps: int = Field(ge=1)
    rate: float = Field(default=0.1, gt=0)


def test_values_in_range_are_taken_and_the_rest_has_its_default():
    recipe = Recipe.from_mapping({"steps": 3}, source="recipe.yaml")
    assert (recipe.steps, recipe.rate) == (3, 0.1)


@pytest.mark.parametrize(
    ("values", "key", "found"),
    [
        ({"steps": 0}, "steps", "found 0"),
        ({"steps": "many"}, "steps", "found 'many'"),
        ({"steps": 3, "speed": 1}, "speed", "found 1"),
        ({}, "steps", "found {}"),
    ],
)
def test_a_refusal_names_source_key_what_was_found_and_what_is_known(values, key, found):
    with pytest.raises(SettingsError) as refusal:
        Recipe.from_mapping(values, source="recipe.yaml")
    message = str(refusal.value)
    assert message.startswith(f"recipe.yaml: {key}: ")
    assert found in message
    assert "Known settings: steps, rate." in message


class Range(Settings):
    """Settings that can contradict each other."""

    lowest: int
    highest: int

    @model_validator(mode="after")
    def _in_order(self) -> "Range":
        if self.lowest > self.highest:
            raise ValueError("lowest is above highest")
        return self


def test_settings_that_contradict_each_other_are_refused_with_the_reason_alone():
    with pytest.raises(SettingsError, match=r"^recipe.yaml: lowest is above highest\.$"):
        Range.from_mapping({"lowest": 2, "highest": 1}, source="recipe.yaml")


def test_a_refusal_says_how_many_more_there_are():
    with pytest.raises(SettingsError, match=r"\(1 more\)"):
        Recipe.from_mapping({"steps": 0, "rate": -1}, source="recipe.yaml")


@pytest.mark.parametrize("values", [["steps"], "steps", None, 3])
def test_what_is_no_mapping_is_refused(values):
    with pytest.raises(SettingsError, match=r"^recipe.yaml: .* found: settings with the names steps, rate were"):
        Recipe.from_mapping(values, source="recipe.yaml")


def test_a_refusal_stays_short_and_on_one_line_whatever_was_found():
    with pytest.raises(SettingsError) as refusal:
        Recipe.from_mapping({"steps": {str(number): "x\n" * 100 for number in range(1000)}}, source="recipe.yaml")
    assert len(str(refusal.value)) < 400
    assert "\n" not in str(refusal.value)


def test_settings_cannot_be_changed():
    recipe = Recipe(steps=1)
    with pytest.raises(ValidationError):
        recipe.steps = 2
