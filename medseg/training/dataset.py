"""Training examples: preprocessed scans with their labels, and random crops of them.

In: cases of a manifest and a bundle's preprocessing. Out: batches (B, C, I, J, K) and (B, 1, I, J, K), of slices
(B, C, H, W) and (B, 1, H, W). A batch is a pure function of (seed, step), so that a training that was killed goes
on with exactly the crops that it would have seen.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Compose
from numpy.typing import NDArray

from medseg.data import DataCase
from medseg.errors import DataError, ImageError
from medseg.geometry import Interpolation, geometry_of, resample_onto
from medseg.inference import is_out_of_memory, preprocess
from medseg.io import CaseFiles, read_case, read_labels
from medseg.training.example import Batch, Example
from medseg.training.identity import case_digest

__all__ = ["Batches", "prepare_examples"]

CPU = torch.device("cpu")


def prepare_examples(  # noqa: PLR0913  which channels of which cases, how, with what labels and where
    cases: Sequence[DataCase],
    preprocessing: Compose,
    *,
    channel_names: Sequence[str],
    wanted_channels: Sequence[str] | None = None,
    relabel: Callable[[NDArray[Any]], NDArray[np.uint8]] | None = None,
    labelled: bool = True,
    device: torch.device = CPU,
) -> Iterator[Example]:
    """The cases on the network's grid, one after the other, image and labels on the CPU.

    Labels go onto the grid of the preprocessed image by nearest neighbour: they need no transforms of their own.

    Args:
        channel_names: the channels of each case, in the order of its files or frames.
        wanted_channels: those that the network takes, in its order; by default all.
        relabel: turns label values of the data set into those of the model.
        labelled: whether references are read; else all is background.
        device: where images are preprocessed; a data set would fill the memory of a GPU.
    """
    for case in cases:
        file_of = {file.channel: file for file in case.channel_files(channel_names)}
        files = CaseFiles(case.case_id, tuple(file_of[name] for name in wanted_channels or channel_names))
        scan = read_case(files)
        with _naming(case):
            image = _preprocessed(scan.image, preprocessing, device)
        if not labelled:
            background = torch.zeros((1, *image.shape[1:]), dtype=torch.uint8)
            unlabelled = MetaTensor(background, affine=image.affine)
            yield Example(case.case_id, image, unlabelled, case_digest(scan.sha256, None))
            continue
        label = read_labels(case.label)
        digest = case_digest(scan.sha256, label)
        with _naming(case):
            if relabel is not None:
                label = MetaTensor(torch.from_numpy(relabel(label.numpy())), affine=label.affine)
            label = resample_onto(label, geometry_of(image), interpolation=Interpolation.NEAREST, outside=0)
        yield Example(case.case_id, image, label, digest)


def _preprocessed(image: MetaTensor, preprocessing: Compose, device: torch.device) -> MetaTensor:
    """An image as read through a bundle's transforms: on the device where it fits there, and back."""
    if device.type != "cpu":
        try:
            there: MetaTensor = preprocess(image.to(device), preprocessing).cpu()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            return there
    return preprocess(image, preprocessing)


@contextmanager
def _naming(case: DataCase) -> Iterator[None]:
    """What is wrong with one of hundreds of cases is said of that one."""
    try:
        yield
    except (ImageError, DataError) as error:
        raise type(error)(f"case {case.case_id}: {error}") from error


class Batches:
    """Augmented batches of examples, each a pure function of its step.

    An augmentation may cut several crops from one example, as MONAI's ``…Samplesd`` and ``RandCropByPosNegLabeld``
    do: the batch then holds ``batch_size`` times as many.

    Args:
        device: where examples are augmented, and batches lie.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        augmentation: Compose,
        *,
        batch_size: int,
        seed: int,
        device: torch.device = CPU,
    ) -> None:
        self._device = device
        self._examples = examples
        self._augmentation = augmentation
        self._batch_size = batch_size
        self._seed = seed

    def __copy__(self) -> "Batches":
        """The same batches, to be drawn in another thread: the scans are shared, the random transforms are not."""
        augmentation = copy.deepcopy(self._augmentation)
        return Batches(self._examples, augmentation, batch_size=self._batch_size, seed=self._seed, device=self._device)

    def at(self, step: int) -> Batch:
        """The batch of one step, counted from 0. Every example comes up once in each round over the data."""
        drawn = [self._draw(step * self._batch_size + slot) for slot in range(self._batch_size)]
        images = torch.stack([image for crops in drawn for image, _ in crops])
        labels = torch.stack([label for crops in drawn for _, label in crops])
        return Batch(images, labels)

    def _draw(self, position: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
        turn, place = divmod(position, len(self._examples))
        order = np.random.default_rng((self._seed, turn)).permutation(len(self._examples))
        example = self._examples[order[place]]
        augmentation_seed = np.random.default_rng((self._seed, 1, position)).integers(2**31)
        self._augmentation.set_random_state(seed=int(augmentation_seed))
        # Copies: MONAI 1.6.1 notes each transform in the image that it is given, which would grow with every step.
        image, label = (kept.to(self._device, copy=True) for kept in (example.image, example.label))
        drawn = self._augmentation({"image": image, "label": label.float()})
        crops = drawn if isinstance(drawn, list) else [drawn]
        return [(_plain(crop["image"]), _plain(crop["label"])) for crop in crops]


def _plain(crop: torch.Tensor) -> torch.Tensor:
    return crop.as_tensor() if isinstance(crop, MetaTensor) else crop
