"""What clients may ask for: the settings that medseg knows, and none that say where something lies.

MONAI Label lays the parameters of a request over the request itself, so that a client can replace the path of the
image, or name a folder of Python code. Here what is known is taken, what names a place is refused, and what viewers
send besides is left out.
"""

import json
from collections.abc import Mapping
from typing import Any, Literal, Self

import torch
from pydantic import Field

from medseg.bundle import choose_device
from medseg.errors import SettingsError
from medseg.settings import Settings

__all__ = ["InferRequest", "SelectionRequest", "check_values", "device_called", "parse_values", "refuse_places"]

VALUES_LIMIT = 100_000
"""Characters; Linux starts no process with an argument of more than 128 KiB, and the task would wait for ever."""

PLACES = frozenset(
    [
        "app",
        "app_dir",
        "bundle_path",
        "bundle_root",
        "conf",
        "datastore",
        "file",
        "image",
        "label",
        "path",
        "session",
        "studies",
    ]
)
"""Keys by which MONAI Label would read, or run, what lies somewhere else."""


class InferRequest(Settings):
    """How a segmentation is to be computed and sent."""

    device: str = Field(default="auto", max_length=16)
    mirror: bool = False
    result_extension: Literal[".nii.gz", ".nii", ".nrrd", ".seg.nrrd", ".mha"] = ".nii.gz"
    result_dtype: Literal["uint8", "uint16", "int16", "int32", "float32"] = "uint8"

    result_compress: bool = True
    """OHIF asks for ``.nrrd`` whose voxels are not packed, and reads no other."""

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Self:
        """The settings among what a client sent.

        Raises:
            SettingsError: one of them is out of range, or they contradict each other.
        """
        asked = cls.from_mapping({key: request[key] for key in cls.model_fields if key in request}, source="params")
        if asked.result_extension == ".seg.nrrd" and asked.result_dtype != "uint8":
            raise SettingsError("params: .seg.nrrd holds uint8 only: leave result_dtype out.")
        return asked


class SelectionRequest(Settings):
    """What decides a choice by chance."""

    seed: int | None = Field(default=None, ge=0, lt=2**63)

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Self:
        """The settings among what a client sent.

        Raises:
            SettingsError: one of them is out of range.
        """
        return cls.from_mapping({key: request[key] for key in cls.model_fields if key in request}, source="params")


def parse_values(text: str) -> dict[str, Any]:
    """The named values in a text in JSON.

    Raises:
        SettingsError: it holds something else.
    """
    try:
        return check_values(json.loads(text or "{}"))
    except (ValueError, RecursionError) as error:  # no JSON, a number of thousands of digits, thousands of brackets
        raise SettingsError(f"parameters that are no JSON were sent: {str(error)[:200]}") from error


def check_values(values: Any) -> dict[str, Any]:
    """Named values that can be handed on: to another process as one argument, and into answers and notes.

    Raises:
        SettingsError: they are something else, too long, or hold what no JSON has: NaN, infinity, half characters.
    """
    if values is None:
        return {}
    if not isinstance(values, Mapping):
        raise SettingsError(f"the parameters are a {type(values).__name__}: named values were expected.")
    try:
        text = json.dumps(values, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (ValueError, RecursionError) as error:
        raise SettingsError("a parameter is NaN, infinite, no text or nested too deeply: send plain JSON.") from error
    if len(json.dumps(values)) > VALUES_LIMIT:
        raise SettingsError(f"the parameters are longer than {VALUES_LIMIT} characters: send less.")
    return dict(values)


def refuse_places(params: Any) -> dict[str, Any]:
    """The parameters of a request, if they are named values and none of them names a place.

    Raises:
        SettingsError: they are something else.
    """
    values: dict[str, Any] = check_values(params)
    found = sorted(PLACES & set(values))
    if found:
        raise SettingsError(f"parameter {found[0]!r} is not taken from a request: name the image by its id.")
    return values


def device_called(name: str) -> torch.device:
    """The device; viewers ask for ``cuda`` wherever they are, and get what there is."""
    return choose_device("auto" if name.startswith("cuda") and not torch.cuda.is_available() else name)
