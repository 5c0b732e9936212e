"""Label schemas: what a voxel value means in one edition of a data set, by name, with its nested regions.

In: a file of ``data_manifests/label_schemas/``. Out: a ``LabelSchema`` that turns label maps into regions and
back, and label maps of one schema into those of another. The same value means different things in different
editions (4 is the enhancing tumour of BraTS until 2021, a resection cavity or oedema in 2024), so values are never
compared across schemas, only names.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from medseg.errors import DataError
from medseg.labels import Label, LabelTable
from medseg.settings import Settings
from medseg.shared_folder import shared_folder

__all__ = ["LabelSchema", "Region", "check_convertible", "convert_labels", "load_schema", "schema_names"]


class Region(Settings):
    """A union of labels that a network may predict by itself, such as the whole tumour."""

    name: str
    labels: tuple[str, ...] = Field(min_length=1)
    paints: str
    """The label that a voxel gets which lies in this region, and in no later one of the schema."""


class LabelSchema(Settings):
    """The labels of one edition, and its regions from the outermost to the innermost.

    ``accepts`` names labels of other schemas: the label that stands for each of them here, or null where it
    counts as background.
    """

    name: str
    title: str
    source: str
    labels: tuple[Label, ...] = Field(min_length=1)
    regions: tuple[Region, ...] = ()
    accepts: dict[str, str | None] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _regions_and_synonyms_name_labels(self) -> "LabelSchema":
        names = {label.name for label in self.labels}
        used = {name for region in self.regions for name in (*region.labels, region.paints)}
        used |= {name for name in self.accepts.values() if name is not None}
        if used - names:
            raise ValueError(
                f"{sorted(used - names)[0]!r} is no label of the schema; it has {', '.join(sorted(names))}"
            )
        wrong = [region.name for region in self.regions if region.paints not in region.labels]
        if wrong:
            raise ValueError(f"region {wrong[0]!r} paints a label that is not its own")
        return self

    @property
    def label_table(self) -> LabelTable:
        """What each voxel value means."""
        return LabelTable(labels=self.labels)

    @property
    def is_reversible(self) -> bool:
        """Whether every label can be told again from its regions."""
        values = np.array([label.index for label in self.labels], np.uint8)
        return bool(self.regions) and np.array_equal(self.decode(self.encode(values)), values)

    def values_of(self, region: str) -> tuple[int, ...]:
        """The voxel values of a region.

        Raises:
            DataError: the schema has no such region.
        """
        found = next((one for one in self.regions if one.name == region), None)
        if found is None:
            known = ", ".join(one.name for one in self.regions) or "none"
            raise DataError(f"label schema {self.name} has no region {region!r}: expected one of {known}.")
        return tuple(label.index for label in self.labels if label.name in found.labels)

    def encode(self, labels: NDArray[np.integer[Any]], *, regions: Sequence[str] | None = None) -> NDArray[np.bool_]:
        """Membership (R, …) of each voxel in the regions, by default all of them in the schema's order.

        Raises:
            DataError: a value is none of the schema's, a region is not, or there is no region.
        """
        self.check(np.unique(labels))
        names = [region.name for region in self.regions] if regions is None else regions
        if not names:
            known = ", ".join(region.name for region in self.regions)
            raise DataError(
                f"label schema {self.name}: no region was asked for, at least one was expected: name some of {known}."
                if known
                else f"label schema {self.name} has no regions to tell: use its labels, or a schema with regions."
            )
        return np.stack([np.isin(labels, self.values_of(name)) for name in names])

    def decode(self, membership: NDArray[np.bool_], *, regions: Sequence[str] | None = None) -> NDArray[np.uint8]:
        """Labels (…) uint8 of memberships (R, …): each region paints its label, the innermost last.

        Args:
            regions: the names of the channels of ``membership``, by default the schema's own order.
        Raises:
            DataError: the schema has no such region.
        """
        names = [region.name for region in self.regions] if regions is None else list(regions)
        for name in names:
            self.values_of(name)
        index_of = {label.name: label.index for label in self.labels}
        labels = np.zeros(membership.shape[1:], np.uint8)
        for region in self.regions:
            if region.name in names:
                labels[membership[names.index(region.name)]] = index_of[region.paints]
        return labels

    def check(self, values: Iterable[float]) -> None:
        """Refuse voxel values that the schema does not know.

        Raises:
            DataError: with the value, and the schemas that know every value found.
        """
        found = {float(value) for value in values} - {0.0}
        known = {float(label.index) for label in self.labels}
        if found <= known:
            return
        fitting = [
            name for name in schema_names() if found <= {float(label.index) for label in load_schema(name).labels}
        ]
        related = [name for name in fitting if name.split("_")[0] == self.name.split("_")[0]]
        hint = f" These values fit {', '.join(related)}: name the edition the data come from." if related else ""
        raise DataError(
            f"label value {min(found - known):g} is unknown to the schema {self.name}, which has "
            f"{', '.join(f'{label.index} {label.name}' for label in self.label_table)}.{hint}"
        )


def convert_labels(labels: NDArray[np.integer[Any]], *, source: LabelSchema, target: LabelSchema) -> NDArray[np.uint8]:
    """A label map of one schema in the values of another; labels are matched by name.

    Raises:
        DataError: a value is unknown to the source, or a label that occurs has no meaning in the target.
    """
    values = np.unique(labels)
    source.check(values)
    check_convertible(source=source, target=target, values=values)
    index_of = {label.name: label.index for label in target.labels}
    table = np.zeros(256, np.uint8)
    for label in source.labels:
        name = label.name if label.name in index_of else target.accepts.get(label.name)
        table[label.index] = index_of[name] if name else 0
    converted: NDArray[np.uint8] = table[labels.astype(np.uint8)]
    return converted


def check_convertible(*, source: LabelSchema, target: LabelSchema, values: Iterable[float] | None = None) -> None:
    """Refuse a pair of schemas of which one has labels that mean nothing in the other.

    Args:
        values: the labels in question, by default all of the source's.
    Raises:
        DataError: with the first such label.
    """
    known = {label.name for label in target.labels} | set(target.accepts)
    asked = {label.index for label in source.labels} if values is None else {int(value) for value in values}
    for label in source.labels:
        if label.index in asked and label.name not in known:
            raise DataError(
                f"label {label.index} ({label.name}) of {source.name} means nothing in {target.name}, which has "
                f"{', '.join(one.name for one in target.labels)}. Choose a model for this edition."
            )


def load_schema(name: str) -> LabelSchema:
    """The label schema of that name.

    Raises:
        DataError: there is none.
        SettingsError: a value in it is wrong.
    """
    path = shared_folder("data_manifests") / "label_schemas" / f"{name}.json"
    if not path.is_file():
        raise DataError(f"no label schema {name!r}: expected one of {', '.join(schema_names())}.")
    return LabelSchema.from_mapping(json.loads(path.read_text(encoding="utf-8")), source=path.name)


def schema_names() -> tuple[str, ...]:
    """The names of all label schemas, sorted."""
    return tuple(sorted(path.stem for path in (shared_folder("data_manifests") / "label_schemas").glob("*.json")))
