"""Label tables: what each voxel value of a segmentation means.

In: the ``labels`` section of a bundle or a manifest. Out: a ``LabelTable`` that every writer, picture and
report asks for names, colours and coded concepts.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from medseg.settings import Settings

__all__ = ["CodedConcept", "Label", "LabelTable"]


class CodedConcept(Settings):
    """One entry of a terminology, as DICOM writes it: code value, coding scheme (``SCT``: SNOMED CT), meaning."""

    value: str
    scheme: str = "SCT"
    meaning: str


class Label(Settings):
    """One structure: its voxel value, its name, its colour (red, green, blue; 0 to 255) and its coded concept."""

    index: int = Field(ge=1, le=255)
    name: str = Field(min_length=1)
    color: tuple[int, int, int]
    concept: CodedConcept | None = None
    laterality: Literal["left", "right"] | None = None
    """The patient's side, where the structure has a partner on the other."""

    @model_validator(mode="after")
    def _color_is_rgb(self) -> "Label":
        if not all(0 <= part <= 255 for part in self.color):
            raise ValueError(f"color {self.color} of label {self.name!r} must have three parts from 0 to 255")
        return self


class LabelTable(Settings):
    """The structures of one model or data set, in the order of their voxel values; 0 is background."""

    labels: tuple[Label, ...] = Field(min_length=1)

    @field_validator("labels")
    @classmethod
    def _in_order_of_index(cls, labels: tuple[Label, ...]) -> tuple[Label, ...]:
        return tuple(sorted(labels, key=lambda label: label.index))

    @model_validator(mode="after")
    def _indices_and_names_are_unique(self) -> "LabelTable":
        for what in ("index", "name"):
            values = [getattr(label, what) for label in self.labels]
            double = {value for value in values if values.count(value) > 1}
            if double:
                raise ValueError(f"label {what} {sorted(double)[0]!r} stands twice; each must be unique")
        return self

    @classmethod
    def from_entries(cls, entries: Sequence[Mapping[str, Any]], *, source: str) -> "LabelTable":
        """The table written as a list of mappings; ``source`` names the file in the error.

        Raises:
            SettingsError: an entry is wrong, or an index or name stands twice.
        """
        return cls.from_mapping({"labels": entries}, source=source)

    def __iter__(self) -> Iterator[Label]:  # type: ignore[override]  # a table is its labels, not its field names
        return iter(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def means_the_same_as(self, other: "LabelTable") -> bool:
        """Whether both give the same values the same names; colours and concepts may differ."""
        return [(label.index, label.name) for label in self] == [(label.index, label.name) for label in other]

    @property
    def names(self) -> tuple[str, ...]:
        """The names in the order of the voxel values."""
        return tuple(label.name for label in self.labels)
