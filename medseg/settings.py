"""Strict settings: the base of every value that comes from YAML, JSON or the command line.

In: a mapping a person wrote. Out: a frozen object whose ranges have been checked, or a ``SettingsError``
that names the key, what was found and what is allowed.
"""

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from medseg.errors import SettingsError

__all__ = ["Settings"]

SHOWN_CHARACTERS = 80
"""Of a wrong value, as much as fits on a line."""


class Settings(BaseModel):
    """A frozen value with named fields; unknown keys are refused, ranges stand on the field."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def from_mapping(cls, values: object, *, source: str) -> Self:
        """The settings in ``values``; ``source`` names where they stand (a file, an option) in the error.

        Raises:
            SettingsError: ``values`` is no mapping, or a key or value in it is wrong.
        """
        if not isinstance(values, Mapping):
            raise SettingsError(
                f"{source}: {_short(values)} found: settings with the names {_known(cls)} were expected."
            )
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            reason = first["msg"].removeprefix("Value error, ")
            more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
            if not first["loc"]:  # several settings contradict each other: the reason names them
                raise SettingsError(f"{source}: {reason}.{more}") from error
            key = ".".join(str(part) for part in first["loc"])
            raise SettingsError(
                f"{source}: {key}: {reason}; found {_short(first['input'])}. Known settings: {_known(cls)}.{more}"
            ) from error


def _known(cls: type[Settings]) -> str:
    return ", ".join(cls.model_fields)


def _short(value: object) -> str:
    """What was found, in one short line: a whole file may stand where one value was expected."""
    text = " ".join(repr(value).split())
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
