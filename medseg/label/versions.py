"""Versions of a model's weights: each training adds one, one of them is in use, and going back is one step.

In: a folder, a model's own weights. Out: which weights to use. Nothing is ever overwritten::

    FOLDER/swin_unetr_hippocampus/
      promoted.json                   {"promoted": [0, 2]}   the last one is in use; 0 is the model as it came
      0001/{model.safetensors, version.json}
      0002/{model.safetensors, version.json}

Several processes use the folder: a server that segments and another that trains. What they share is replaced at once.
"""

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from medseg.atomic import atomic_write
from medseg.bundle import sha256_of
from medseg.errors import DataError, OutputError, SettingsError
from medseg.settings import Settings

__all__ = ["Measured", "Version", "WeightsVersions"]

WEIGHTS_NAME = "model.safetensors"
FACTS_NAME = "version.json"


class Measured(Settings):
    """What a training was made of, and Dice on the same validation cases before and after it."""

    dice_before: dict[str, float | None]
    dice_after: dict[str, float | None]
    mean_before: float
    mean_after: float
    n_train: int = Field(ge=1)
    n_validation: int = Field(ge=1)
    steps: int = Field(ge=1)

    @property
    def is_better(self) -> bool:
        """Whether the training was worth it."""
        return self.mean_after > self.mean_before


class Version(Settings):
    """One training's weights: number, hashes of them and of those it began with, and what was measured."""

    number: int = Field(ge=1)
    sha256: str
    parent_sha256: str
    created_utc: str
    measured: Measured


class _Promoted(Settings):
    promoted: tuple[int, ...] = Field(default=(0,), min_length=1)


class WeightsVersions:
    """The versions of one model.

    Args:
        folder: made when the first version is added.
        own_weights: the weights that the model came with, version 0.
    """

    def __init__(self, folder: Path, *, own_weights: Path) -> None:
        self.folder = folder
        self._own_weights = own_weights

    @property
    def current(self) -> int:
        """The number of the version in use; 0 is the model as it came."""
        return self._promoted().promoted[-1]

    @property
    def current_weights(self) -> Path:
        """The weights in use."""
        return self.weights_of(self.current)

    def weights_of(self, number: int) -> Path:
        """The weights of a version.

        Raises:
            SettingsError: there is no such version.
        """
        path = self._own_weights if number == 0 else self._folder_of(number) / WEIGHTS_NAME
        if number and not path.with_name(FACTS_NAME).is_file():
            known = ", ".join(str(version.number) for version in self.all()) or "none but 0, the model as it came"
            raise SettingsError(f"{self.folder.name} has no version {number}: expected one of {known}.")
        return path

    def all(self) -> tuple[Version, ...]:
        """Every version that was added, oldest first."""
        return tuple(
            Version.from_mapping(_read(path), source=f"{self.folder.name}/{path.parent.name}")
            for path in sorted(self.folder.glob(f"[0-9]*/{FACTS_NAME}"))
        )

    def add(self, weights: Path, *, parent_sha256: str, measured: Measured) -> Version:
        """Keep weights as the next version; it is not in use until it is promoted.

        Raises:
            OutputError: the folder cannot be written to.
        """
        taken = [int(path.name) for path in self.folder.glob("[0-9]*") if path.name.isdigit()]
        version = Version(
            number=max(taken, default=0) + 1,
            sha256=sha256_of(weights),
            parent_sha256=parent_sha256,
            created_utc=datetime.now(UTC).isoformat(timespec="seconds"),
            measured=measured,
        )
        folder = self._folder_of(version.number)
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise OutputError(f"{folder} cannot be made ({error.strerror}): choose another work folder.") from error
        with atomic_write(folder / WEIGHTS_NAME, overwrite=False) as temporary:
            shutil.copyfile(weights, temporary)
        with atomic_write(folder / FACTS_NAME, overwrite=False) as temporary:  # last: with it the version is complete
            temporary.write_text(version.model_dump_json(indent=2), encoding="utf-8")
        return version

    def promote(self, number: int) -> None:
        """Use this version from now on.

        Raises:
            SettingsError: there is no such version.
        """
        self.weights_of(number)
        promoted = self._promoted().promoted
        if promoted[-1] != number:
            self._write(_Promoted(promoted=(*promoted, number)))

    def rollback(self) -> int:
        """Use what was in use before the last promotion; returns its number.

        Raises:
            SettingsError: nothing was promoted.
        """
        promoted = self._promoted().promoted
        if len(promoted) == 1:
            raise SettingsError(f"{self.folder.name} is as it came: there is no earlier version to go back to.")
        self._write(_Promoted(promoted=promoted[:-1]))
        return promoted[-2]

    def _folder_of(self, number: int) -> Path:
        return self.folder / f"{number:04d}"

    def _promoted(self) -> _Promoted:
        path = self.folder / "promoted.json"
        return _Promoted.from_mapping(_read(path), source=path.name) if path.is_file() else _Promoted()

    def _write(self, promoted: _Promoted) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.folder / "promoted.json", overwrite=True) as temporary:
            temporary.write_text(promoted.model_dump_json(), encoding="utf-8")


def _read(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise DataError(f"{path.parent.name}/{path.name} cannot be read: remove that version's folder.") from error
