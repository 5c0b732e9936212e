"""nnU-Net's predictor in the place of MONAI's inferer: the same network and windows, blended its way.

Of nnU-Net (Isensee et al., Nature Methods 18:203–211, 2021) only the sliding window is taken: Gaussian weights,
half-precision sums, windows at even distances. Reading, resampling and writing stay MONAI's.
"""

import importlib.util
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from monai.inferers import Inferer, SlidingWindowInferer
from monai.utils import ensure_tuple_rep
from torch import nn

from medseg.errors import SettingsError

__all__ = ["NnunetInferer", "check_nnunet"]


def check_nnunet(inferer: Inferer) -> None:
    """Nothing, if nnU-Net's predictor can take the place of this inferer.

    Raises:
        SettingsError: it is not installed, or the inferer's windows are not what it takes.
    """
    if importlib.util.find_spec("nnunetv2") is None:
        raise SettingsError("nnU-Net's predictor is not installed: pip install nnunetv2, or leave --nnunet out.")
    if type(inferer) is not SlidingWindowInferer:
        raise SettingsError(
            f"nnU-Net's predictor takes volumes window by window, and this bundle's inferer is a "
            f"{type(inferer).__name__}: leave --nnunet out."
        )
    overlaps = set(ensure_tuple_rep(inferer.overlap, 3))
    if len(overlaps) > 1:
        raise SettingsError(
            f"nnU-Net's predictor takes one overlap, and this bundle has {overlaps}: leave --nnunet out."
        )


class NnunetInferer(Inferer):
    """The windows of a MONAI inferer, laid and blended by nnU-Net's predictor, without mirror images.

    Args:
        n_channels: that the network gives.
    Raises:
        SettingsError: as ``check_nnunet``.
    """

    def __init__(self, inferer: Inferer, *, n_channels: int, device: torch.device) -> None:
        super().__init__()
        check_nnunet(inferer)
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        assert isinstance(inferer, SlidingWindowInferer), "checked above"
        overlap: Sequence[float] = ensure_tuple_rep(inferer.overlap, 3)
        self._predictor = nnUNetPredictor(
            tile_step_size=1 - overlap[0],
            use_gaussian=inferer.mode == "gaussian",
            use_mirroring=False,
            perform_everything_on_device=device.type == "cuda",
            device=device,
            allow_tqdm=False,
        )
        self._predictor.configuration_manager = SimpleNamespace(patch_size=ensure_tuple_rep(inferer.roi_size, 3))
        self._predictor.label_manager = SimpleNamespace(num_segmentation_heads=n_channels)

    def __call__(self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:  # noqa: ARG002  MONAI's signature
        """Logits (B, L, I, J, K) float32 of volumes (B, C, I, J, K)."""
        self._predictor.network = network
        predict = self._predictor.predict_sliding_window_return_logits
        return torch.stack([torch.as_tensor(predict(torch.as_tensor(volume))).float() for volume in inputs])
