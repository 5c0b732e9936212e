"""Strict settings: the base of every value that comes from YAML, JSON or the command line.

In: a mapping a person wrote. Out: a frozen object whose ranges have been checked, or a ``SettingsError``
that names the key, what was found and what is allowed.
"""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from medseg.errors import SettingsError

__all__ = ["Settings"]


class Settings(BaseModel):
    """A frozen value with named fields; unknown keys are refused, ranges stand on the field."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], *, source: str) -> Self:
        """The settings in ``values``; ``source`` names where they stand (a file, an option) in the error."""
        try:
            return cls.model_validate(dict(values))
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"]) or "the whole section"
            known = ", ".join(cls.model_fields)
            more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
            raise SettingsError(
                f"{source}: {key}: {first['msg']}; found {first.get('input')!r}. Known settings: {known}.{more}"
            ) from error
