"""MONAI's own road through a bundle, in a process of its own: what medseg is measured against.

``SupervisedEvaluator`` over the bundle's preprocessing, inferer and MONAI's network class, then ``Invertd``, the
choice of the label and ``SaveImaged``. Nothing is tuned: this is what ``python -m monai.bundle run`` does.

    python -m medseg.benchmark.stock \
        '{"bundle": …, "files": […], "weights": …, "trust": null, "device": "cpu", "output": …, "is_nnunet": false}'
"""

import json
import sys
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from monai.data import DataLoader, Dataset
from monai.engines import SupervisedEvaluator
from monai.inferers import Inferer
from monai.networks.nets import SwinUNETR as MonaiSwinUNETR
from monai.networks.nets.swin_unetr import PatchMergingV2
from monai.transforms import AsDiscreted, Compose, Invertd, LoadImaged, SaveImaged, Transform
from torch import nn

from medseg.benchmark.nnunet import NnunetInferer
from medseg.bundle import Bundle, load_bundle
from medseg.bundle.build import build_network, build_steps
from medseg.gpu import finish_work, gpu_peak_memory_mb
from medseg.inference import RestoreLabelsd, SliceBySliceInferer
from medseg.networks import SwinUNETR
from medseg.networks.blocks.patches import LEGACY_3D
from medseg.networks.swin_unetr import SwinUNETRConfig
from medseg.record import Stopwatch

__all__ = ["precision", "run_stock", "stock_network"]


class LegacyPatchMerging(PatchMergingV2):
    """Neighbours in the order of MONAI before 1.5, in which the released weights were trained."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Halve a map (B, I, J, K, D) along each axis; (B, I/2, J/2, K/2, 2 D)."""
        padding = [missing for size in reversed(x.shape[1:4]) for missing in (0, size % 2)]
        x = nn.functional.pad(x, (0, 0, *padding))
        neighbours = [x[:, i::2, j::2, k::2] for i, j, k in LEGACY_3D]
        merged: torch.Tensor = self.reduction(self.norm(torch.cat(neighbours, dim=-1)))
        return merged


def stock_network(network: nn.Module) -> nn.Module:
    """MONAI's class with the same weights where MONAI has one (Swin UNETR), else the network itself."""
    if not isinstance(network, SwinUNETR):
        return network
    config = network.config
    merging = {"current": "merging", "lexicographic": "mergingv2", "legacy": LegacyPatchMerging}[config.merging]
    stock = MonaiSwinUNETR(
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        feature_size=config.feature_size,
        depths=config.depths,
        num_heads=config.num_heads,
        window_size=config.attn_window,
        mlp_ratio=config.mlp_ratio,
        qkv_bias=config.qkv_bias,
        patch_norm=config.patch_norm,
        normalize=config.normalize,
        norm_name=_norm_of(config),
        spatial_dims=config.spatial_dims,
        use_v2=config.stage_convolutions,
        downsample=merging,
    )
    # MONAI stores its index tables as well, which follow from the sizes.
    tables = {name: value for name, value in stock.state_dict().items() if name.endswith("relative_position_index")}
    stock.load_state_dict(tables | network.state_dict())
    placed: nn.Module = stock.to(next(network.parameters()).device)
    return placed.eval()


def _norm_of(config: SwinUNETRConfig) -> tuple[str, dict[str, Any]]:
    """The normalisation of the convolutions, as MONAI names it."""
    norm = config.norm
    groups = {} if norm.groups is None else {"num_groups": norm.groups}
    return norm.kind, {"affine": norm.affine, "eps": norm.eps, **groups}


def run_stock(
    bundle: Bundle, files: Sequence[Path], *, device: torch.device, output: Path, is_nnunet: bool = False
) -> tuple[Path, dict[str, float]]:
    """The labels that MONAI's road writes into ``output``, and the seconds of each stage.

    Args:
        is_nnunet: nnU-Net's predictor takes the windows, in the place of the bundle's inferer.
    """
    watch = Stopwatch()
    with watch.stage("load"):
        parser = bundle.parser(device=device)
        network = stock_network(build_network(bundle, device=device))
        preprocessing = _with_reader(build_steps(bundle, "preprocessing", parser))
        inferer = _stock_inferer(bundle.build("inferer", parser))
        if is_nnunet:
            inferer = NnunetInferer(inferer, n_channels=len(bundle.output_channels), device=device)
        postprocessing = _stock_postprocessing(build_steps(bundle, "postprocessing", parser), preprocessing, output)
    paths = [str(path) for path in files]
    image = paths[0] if len(paths) == 1 else paths
    dataset = Dataset([{"image": image}], transform=_Timed(preprocessing, watch, "read and preprocess", device))
    SupervisedEvaluator(
        device=device,
        val_data_loader=DataLoader(dataset, batch_size=1, num_workers=0),
        network=network,
        inferer=_TimedInferer(inferer, watch, device),
        postprocessing=_Timed(postprocessing, watch, "restore and write", device),
        amp=device.type == "cuda",
    ).run()
    return next(output.glob("*.nii.gz")), watch.stage_s


def precision(device: torch.device) -> str:
    """What MONAI's evaluator computes in: half precision by torch's own choice on a GPU, ``float32`` elsewhere."""
    return str(torch.get_autocast_dtype("cuda") if device.type == "cuda" else torch.float32).removeprefix("torch.")


class _Timed(Transform):
    """A transform under a stopwatch."""

    def __init__(self, transform: Transform, watch: Stopwatch, name: str, device: torch.device) -> None:
        self._transform = transform
        self._watch = watch
        self._name = name
        self._device = device

    def __call__(self, data: Any) -> Any:
        with self._watch.stage(self._name):
            result = self._transform(data)
            finish_work(self._device)
        return result


class _TimedInferer(Inferer):
    """An inferer under a stopwatch."""

    def __init__(self, inferer: Inferer, watch: Stopwatch, device: torch.device) -> None:
        super().__init__()
        self._inferer = inferer
        self._watch = watch
        self._device = device

    def __call__(self, inputs: torch.Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Any:
        with self._watch.stage("infer"):
            result = self._inferer(inputs, network, *args, **kwargs)
            finish_work(self._device)
        return result


def _with_reader(preprocessing: Compose) -> Compose:
    """The steps after a reader: from a bundle of others, ``load_bundle`` takes its own out."""
    if any(isinstance(step, LoadImaged) for step in preprocessing.transforms):
        return preprocessing
    return Compose([LoadImaged(keys="image", image_only=True, ensure_channel_first=True), *preprocessing.transforms])


def _stock_inferer(inferer: Inferer) -> Inferer:
    """Slices one by one, as the authors of 2D networks do; every other inferer as the bundle has it."""
    if not isinstance(inferer, SliceBySliceInferer):
        return inferer
    one_by_one = copy(inferer)
    one_by_one.batch_size = 1
    return one_by_one


def _stock_postprocessing(postprocessing: Compose, preprocessing: Compose, output: Path) -> Compose:
    """The bundle's steps with MONAI's ``Invertd``, arg-max and ``SaveImaged`` where medseg's engine has its own."""
    restore = Invertd(keys="pred", transform=preprocessing, orig_keys="image", nearest_interp=False)
    is_regions = any(
        isinstance(step, AsDiscreted) and step.threshold[0] is not None for step in postprocessing.transforms
    )
    steps: list[Transform] = []
    for step in postprocessing.transforms:
        if isinstance(step, RestoreLabelsd):
            steps += [] if is_regions else [restore, AsDiscreted(keys="pred", argmax=True)]
        elif isinstance(step, AsDiscreted) and is_regions and restore not in steps:
            # Probabilities go back, not logits: MONAI fills what was cropped away with 0, as a logit a half.
            steps += [restore, step]
        elif not isinstance(step, SaveImaged):
            steps.append(step)
    saving = SaveImaged(
        keys="pred",
        output_dir=output,
        output_postfix="",
        output_dtype=torch.uint8,
        resample=False,
        separate_folder=False,
    )
    return Compose([*steps, saving])


def main() -> None:
    """Run what the one argument asks for, and print the seconds of each stage as JSON."""
    asked = json.loads(sys.argv[1])
    bundle = load_bundle(asked["bundle"], trust=asked["trust"])
    bundle = replace(bundle, weights=Path(asked["weights"]) if asked["weights"] else None)
    files = [Path(path) for path in asked["files"]]
    device = torch.device(asked["device"])
    labels, stage_s = run_stock(
        bundle,
        files,
        device=device,
        output=Path(asked["output"]),
        is_nnunet=asked["is_nnunet"],
    )
    said = {
        "labels": str(labels),
        "computed_by": f"torch {precision(device)}",
        "measured": {"stage_s": stage_s, "gpu_peak_mb": gpu_peak_memory_mb(device)},
    }
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
