"""Forward time of the networks at their published settings, in one run on one machine.

    python benchmarks/network_speed.py [--size 128] [--repeats 3] [--json]

Swin UNETR against MONAI's class with default arguments, on the same weights and image, the two in turn, under
glibc's default allocator and under the one that keeps freed memory; then the rate (GFLOP/s) of every network.
Float32, inference mode, medians; other load on the machine moves the seconds, and the ratios far less.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from monai.networks.nets import SwinUNETR as MonaiSwinUNETR
from torch import nn

from medseg.bundle.cost import network_cost
from medseg.inference import keep_freed_memory
from medseg.networks import AttSwinUNet, DFormer, DSTransUNet, SwinUNETR, TransUNet
from medseg.networks.att_swin_unet import AttSwinUNetConfig
from medseg.networks.dformer import DFormerConfig
from medseg.networks.ds_transunet import DSTransUNetConfig
from medseg.networks.swin_unetr import SwinUNETRConfig
from medseg.networks.transunet import TransUNetConfig

SWIN_UNETR = SwinUNETRConfig.brats21().model_copy(update={"merging": "current"})  # as MONAI's class merges today

OTHERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "transunet": (lambda: TransUNet(TransUNetConfig.r50_vit_b16()), (1, 224, 224)),
    "ds_transunet": (lambda: DSTransUNet(DSTransUNetConfig.base()), (3, 512, 512)),
    "dformer": (lambda: DFormer(DFormerConfig.base()), (1, 64, 128, 128)),
    "att_swin_unet": (lambda: AttSwinUNet(AttSwinUNetConfig.tiny_7_224()), (3, 224, 224)),
}
"""Each network at its published setting, and the size of its published input."""


def main() -> None:
    """Measure in fresh processes, one for each allocator, and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=128, help="side of Swin UNETR's window")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--part", choices=["default", "tuned", "rates"], help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.manual_seed(0)
    if chosen.part == "rates":
        print(json.dumps(measure_rates(chosen.size, chosen.repeats)))
    elif chosen.part:
        print(json.dumps(compare_swin_unetr(chosen.size, chosen.repeats, is_tuned=chosen.part == "tuned")))
    else:
        found = {part: in_fresh_process(part, chosen) for part in ("default", "tuned", "rates")}
        print(json.dumps(found, indent=2) if chosen.json else in_words(found))


def in_fresh_process(part: str, chosen: argparse.Namespace) -> dict[str, object]:
    """One part of the measurement, by this file in a process of its own with glibc's settings as they come."""
    words = [sys.executable, __file__, "--part", part, "--size", str(chosen.size), "--repeats", str(chosen.repeats)]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    done = subprocess.run(words, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, object] = json.loads(done.stdout)
    return result


def compare_swin_unetr(size: int, repeats: int, *, is_tuned: bool) -> dict[str, float]:
    """MONAI's class and ours in turn."""
    if is_tuned:
        keep_freed_memory()
    theirs = MonaiSwinUNETR(in_channels=4, out_channels=3, feature_size=48).eval()
    ours = SwinUNETR(SWIN_UNETR).eval()
    ours.load_state_dict({key: value for key, value in theirs.state_dict().items() if key in ours.state_dict()})
    image = torch.randn(1, 4, size, size, size)
    with torch.inference_mode():
        difference = float((ours(image) - theirs(image)).abs().max())
    seconds = in_turn({"medseg": ours, "monai": theirs}, image, repeats)
    return {
        "medseg_s": seconds["medseg"],
        "monai_s": seconds["monai"],
        "ratio": round(seconds["monai"] / seconds["medseg"], 3),
        "max_abs_difference": difference,
        "process_peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000, 1),
    }


def measure_rates(size: int, repeats: int) -> dict[str, dict[str, float]]:
    """GFLOP/s of each network under the allocator that medseg runs with."""
    keep_freed_memory()
    networks = {"swin_unetr": (lambda: SwinUNETR(SWIN_UNETR), (4, size, size, size)), **OTHERS}
    rates = {}
    for name, (build, shape) in networks.items():
        network = build().eval()
        image = torch.randn(1, *shape)
        seconds = in_turn({name: network}, image, repeats)[name]
        gflop = network_cost(network, image.shape).gflop
        rates[name] = {"gflop": round(gflop, 1), "s": seconds, "gflop_per_s": round(gflop / seconds, 1)}
    return rates


@torch.inference_mode()
def in_turn(networks: dict[str, nn.Module], image: torch.Tensor, repeats: int) -> dict[str, float]:
    """Median seconds of a forward pass of each, one after the other, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    for turn in range(repeats + 1):
        for name, network in networks.items():
            began = time.perf_counter()
            network(image)
            if turn:
                seconds[name].append(time.perf_counter() - began)
    return {name: round(statistics.median(values), 4) for name, values in seconds.items()}


def in_words(found: dict[str, dict[str, object]]) -> str:
    """The figures as two small tables."""
    lines = ["Swin UNETR      medseg s    MONAI s    ratio    largest difference"]
    for allocator in ("default", "tuned"):
        entry = found[allocator]
        lines.append(
            f"{allocator:12} {entry['medseg_s']:11.3f} {entry['monai_s']:10.3f} {entry['ratio']:8.2f}"
            f" {entry['max_abs_difference']:12.1e}"
        )
    lines.append("network             GFLOP          s    GFLOP/s")
    for name, entry in found["rates"].items():
        lines.append(f"{name:14} {entry['gflop']:10.1f} {entry['s']:10.3f} {entry['gflop_per_s']:10.1f}")  # type: ignore[index]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
