"""Scores of images for active learning: how uncertain a model is, what the image is like, what it would cost.

In: a model and scans. Out: one small file a scan, in a folder named after the hash of the model's weights, so that
scores of other weights are never taken for those of the model in use::

    FOLDER/swin_unetr_hippocampus/9f2c…/case_1.json
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from monai.data import MetaTensor
from numpy.typing import NDArray
from torch import nn

from medseg.atomic import atomic_write
from medseg.bundle import Bundle, build_segmenter
from medseg.errors import SettingsError
from medseg.inference import ManyPasses, Segmenter
from medseg.segmentation import Segmentation
from medseg.settings import Settings

__all__ = ["ImageScore", "ScoreStore", "Scorer"]

NOISY_PASSES = 2
"""Besides the plain one, where a bundle allows no mirrors."""

NOISE = 0.1
"""Of the noise that is added to a window, in standard deviations of the window."""

UNCERTAIN_FROM = 0.25
"""Entropy from which a voxel counts though no structure was found in it."""


class ImageScore(Settings):
    """What is known of one image under one model.

    ``entropy`` and ``mutual_information`` are means over the voxels that hold a structure or are uncertain, 0 where
    there are none; ``features`` the mean of the network's deepest feature map; ``slices`` how many slices a person
    would have to look at.
    """

    entropy: float
    mutual_information: float
    features: tuple[float, ...]
    slices: int
    seconds: float = 0.0
    fits: bool = True
    """Whether the model takes the image at all."""

    @classmethod
    def unfit(cls) -> "ImageScore":
        """Of an image that the model does not take: it is not tried again."""
        return cls(entropy=0.0, mutual_information=0.0, features=(), slices=0, fits=False)


class ScoreStore:
    """The scores of one model with one set of weights.

    Args:
        folder: of all models.
    """

    def __init__(self, folder: Path, *, model: str, weights_sha256: str) -> None:
        self._folder = folder / model / weights_sha256[:24]

    def read(self, image_ids: Sequence[str]) -> dict[str, ImageScore]:
        """The scores of those of the images that have one."""
        found = {}
        for image_id in image_ids:
            path = self._path(image_id)
            if path.is_file():
                try:
                    values = json.loads(path.read_text(encoding="utf-8"))
                    found[image_id] = ImageScore.from_mapping(values, source="score")
                except (json.JSONDecodeError, SettingsError):  # of another edition of medseg: to be computed again
                    continue
        return found

    def write(self, image_id: str, score: ImageScore) -> None:
        """Keep the score of an image."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(self._path(image_id), overwrite=True) as temporary:
            temporary.write_text(score.model_dump_json(), encoding="utf-8")

    def _path(self, image_id: str) -> Path:
        return self._folder / f"{image_id}.json"


class Scorer:
    """Scores scans with one model: its mirror images where the bundle allows them, else noisy copies of each window.

    Test-time augmentation as in Wang et al., Aleatoric uncertainty estimation with test-time augmentation for medical
    image segmentation with convolutional neural networks, Neurocomputing 2019 (arXiv:1807.07356).
    """

    def __init__(self, bundle: Bundle, *, device: torch.device) -> None:
        self._segmenter = build_segmenter(bundle, device=device, mirror=bool(bundle.config.get("mirror_axes")))
        self._segmenter = replace(self._segmenter, runtime=None)  # features are taken from the network itself
        network = self._segmenter.network
        noisy = [
            replace(self._segmenter, network=_NoisyWindows(network, seed=number), reuses_constant_windows=False)
            for number in range(0 if bundle.config.get("mirror_axes") else NOISY_PASSES)
        ]
        self._passes = ManyPasses((self._segmenter, *noisy), measures_uncertainty=True)

    def score(self, image: MetaTensor) -> ImageScore:
        """The score of a scan (C, I, J, K) as read.

        Raises:
            ImageError: the scan does not fit the model.
        """
        began = time.monotonic()
        with _deepest_features(self._segmenter) as features:
            segmentation = self._passes(image)
        uncertainty = segmentation.uncertainty
        assert uncertainty is not None, "it was asked for"
        shared = uncertainty.mutual_information
        counted = (segmentation.labels != 0) | (uncertainty.entropy >= UNCERTAIN_FROM)
        return ImageScore(
            entropy=_mean_over(uncertainty.entropy, counted),
            mutual_information=0.0 if shared is None else _mean_over(shared, counted),
            features=tuple(round(float(value), 6) for value in features.mean()),
            slices=_slices_to_look_at(segmentation, counted),
            seconds=round(time.monotonic() - began, 2),
        )


class _NoisyWindows(nn.Module):
    """A network whose input is a little noisy, in the same way at each call for the same number of calls."""

    def __init__(self, network: nn.Module, *, seed: int) -> None:
        super().__init__()
        self._network = network
        self._seed = seed

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self._seed)
        noise = torch.randn(windows.shape, generator=generator).to(windows)
        deviation = windows.flatten(1).std(dim=1).reshape(-1, *(1,) * (windows.ndim - 1))
        noisy: torch.Tensor = self._network(windows + NOISE * deviation * noise)
        return noisy


@dataclass
class _Features:
    """The mean of the map with the fewest positions, over all windows; mutable, as windows come."""

    n_positions: int = 0
    total: torch.Tensor | None = None
    count: int = 0

    def mean(self) -> NDArray[np.float32]:
        if self.total is None:
            return np.zeros(0, np.float32)
        mean: NDArray[np.float32] = (self.total / self.count).cpu().numpy()
        return mean


@contextmanager
def _deepest_features(segmenter: Segmenter) -> Iterator[_Features]:
    """While this lasts, the network's deepest feature map is looked at in every window.

    The deepest is the output (B, C, …) with the fewest positions, but more than one: attention over channels and
    pooling to one value are none. Which module gives it is seen in the first window.
    """
    features = _Features()
    handles = []

    def look(module: nn.Module, inputs: object, output: object) -> None:  # noqa: ARG001  a hook's signature
        is_map = isinstance(output, torch.Tensor) and output.ndim in (4, 5)
        if not is_map or not isinstance(output, torch.Tensor):
            return
        n_positions = int(np.prod(output.shape[2:]))
        if n_positions <= 1 or (features.total is not None and n_positions > features.n_positions):
            return
        means = output.detach().float().flatten(2).mean(2)
        if features.total is None or n_positions < features.n_positions or means.shape[1] > len(features.total):
            features.n_positions, features.total, features.count = n_positions, torch.zeros_like(means[0]), 0
        if means.shape[1] == len(features.total):
            features.total += means.sum(0)
            features.count += len(means)

    for module in segmenter.network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            handles.append(module.register_forward_hook(look))
    try:
        yield features
    finally:
        for handle in handles:
            handle.remove()


def _mean_over(values: NDArray[np.float32], counted: NDArray[np.bool_]) -> float:
    return round(float(values[counted].mean()), 6) if counted.any() else 0.0


def _slices_to_look_at(segmentation: Segmentation, counted: NDArray[np.bool_]) -> int:
    """Slices with something to draw or to decide, across the axis with the fewest: that is how scans are read."""
    axis = int(np.argmin(segmentation.labels.shape))
    others = tuple(one for one in range(3) if one != axis)
    return int(counted.any(axis=others).sum())
