"""Prepared scans: in memory as far as a budget goes, the others in files that are read when their turn comes."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import overload

import torch
from monai.data import MetaTensor
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from medseg.errors import OutputError
from medseg.free_memory import free_memory_bytes
from medseg.training.example import Example

__all__ = ["ExampleStore", "default_budget"]

SHARE_OF_FREE_MEMORY = 0.5
"""Of the memory that is free when training starts: network, batches and the system need the rest."""


def default_budget() -> int:
    """Bytes that prepared scans may take where the recipe says nothing."""
    return int(free_memory_bytes() * SHARE_OF_FREE_MEMORY)


class ExampleStore(Sequence[Example]):
    """Examples in the order in which they were added; what they hold does not depend on where they are kept.

    Args:
        folder: made when the first example does not fit in the memory; what lies in it is replaced.
        budget: bytes of images and labels that are kept in memory.
    """

    def __init__(self, folder: Path, *, budget: int) -> None:
        self._folder = folder
        self._budget = budget
        self._kept: list[Example | tuple[str, Path]] = []
        self._bytes = 0

    def add(self, example: Example) -> None:
        """Keep one more example.

        Raises:
            OutputError: it fits neither the budget nor the disk.
        """
        size = sum(tensor.nbytes for tensor in (example.image, example.label))
        if self._bytes + size <= self._budget:
            self._bytes += size
            self._kept.append(example)
            return
        path = self._folder / f"{len(self._kept):06d}.safetensors"
        tensors = {"image": example.image.as_tensor(), "label": example.label.as_tensor()}
        affines = {"image_affine": example.image.affine, "label_affine": example.label.affine}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            save_file({key: value.cpu().contiguous().clone() for key, value in (tensors | affines).items()}, path)
        except (OSError, SafetensorError) as error:
            raise OutputError(
                f"prepared scans beyond the memory budget cannot be kept in {self._folder} ({error}): free space "
                "there, choose another disk, or give them more memory with --set cache_gb."
            ) from error
        self._kept.append((example.case_id, path))

    @property
    def n_bytes(self) -> int:
        """How much memory the examples take."""
        return self._bytes

    @property
    def n_in_files(self) -> int:
        """How many examples did not fit in the memory."""
        return sum(isinstance(kept, tuple) for kept in self._kept)

    def close(self) -> None:
        """Forget the examples, and remove the files."""
        self._kept = []
        shutil.rmtree(self._folder, ignore_errors=True)

    def __len__(self) -> int:
        return len(self._kept)

    @overload
    def __getitem__(self, number: int) -> Example: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Example]: ...
    def __getitem__(self, number: int | slice) -> Example | Sequence[Example]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        kept = self._kept[number]
        if isinstance(kept, Example):
            return kept
        case_id, path = kept
        stored: dict[str, torch.Tensor] = load_file(path)
        image, label = (MetaTensor(stored[key], affine=stored[f"{key}_affine"]) for key in ("image", "label"))
        return Example(case_id, image, label)
