"""What OpenVINO's compiler made of a network, as it lies on disk.

In: the folder that ``openvino_worker`` filled. Out: the network, whose weights stay in the file until they are needed.
"""

import mmap
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medseg.inference.runtime.checksum import crc32_of
from medseg.inference.runtime.openvino_worker import BLOB, CHECKSUM, import_quietly

__all__ = ["is_whole", "loaded", "remove_damaged"]


def is_whole(folder: Path) -> bool:
    """Whether the folder holds a compiled network with its checksum: OpenVINO crashes over one that is damaged."""
    try:
        return (folder / CHECKSUM).read_text(encoding="utf-8").strip() == f"{crc32_of(folder / BLOB):08x}"
    except (OSError, ValueError):
        return False


def remove_damaged(folder: Path) -> None:
    """Make way for a new one, unless another process has put one there meanwhile."""
    if folder.is_dir() and not is_whole(folder):
        shutil.rmtree(folder, ignore_errors=True)


def loaded(folder: Path, settings: Mapping[str, Any]) -> tuple[Any, Callable[[], None]]:
    """A request to the network in a folder that ``is_whole``, and what gives its file's pages back to the system.

    Read through OpenVINO's own cache, the model and its weights would be read and held too, to be recognised by.
    """
    openvino = import_quietly()
    with (folder / BLOB).open("rb") as file:
        # Private, since OpenVINO takes no memory that cannot be written to; it writes nothing.
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    content = openvino.Tensor(np.frombuffer(mapped, np.uint8), shared_memory=True)
    request = openvino.Core().import_model(content, "CPU", dict(settings)).create_infer_request()

    def rest() -> None:  # holds the mapping, from which the network reads on
        if hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)

    return request, rest
