"""Splits: which cases train, which choose the weights, which are kept for the end."""

import hashlib
import re
from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from medseg.settings import Settings

__all__ = ["Split", "SplitRule", "Splits", "with_training"]

Split = Literal["train", "validation", "test"]


class Splits(Settings):
    """Case ids by use; no case stands in two of them."""

    train: tuple[str, ...] = Field(min_length=1)
    validation: tuple[str, ...] = ()
    test: tuple[str, ...] = ()


class SplitRule(Settings):
    """How cases are split where no list was published: by the hash of their patient, so that anybody draws the same.

    ``patient`` is a regular expression whose match in a case id names the patient: time points and cardiac phases
    of one person never lie in two splits.
    """

    validation: float = Field(default=0.1, ge=0, lt=1)
    test: float = Field(default=0.2, ge=0, lt=1)
    patient: str = ".*"

    def split_of(self, case_id: str) -> Split:
        """The split of one case, a function of its patient's name alone."""
        match = re.search(self.patient, case_id)
        patient = match[0] if match else case_id
        place = int(hashlib.sha256(patient.encode()).hexdigest()[:8], 16) / 2**32
        if place < self.test:
            return "test"
        return "validation" if place < self.test + self.validation else "train"


def with_training(drawn: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """Splits of a few cases, of which the hash may have left none to train on: then others are taken for it."""
    splits = {name: list(case_ids) for name, case_ids in drawn.items()}
    for other in ("validation", "test"):
        if not splits["train"]:
            splits["train"], splits[other] = splits[other], []
    return splits
