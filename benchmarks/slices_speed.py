"""A 2D network over a volume: medseg's slices against a loop that takes one slice after another.

    python benchmarks/slices_speed.py [--size 512 512 150] [--bundle transunet_synapse] [--repeats 1] [--json]

The loop is that of the networks' authors: resize a slice, compute it alone, take the likeliest label, resize the
label. medseg computes slices in batches, brings logits back and not labels, and may use OpenVINO. Random weights,
one volume of noise; each way in a fresh process, in turn; seconds from the volume in memory to its label map, what
compiled networks take at the first use not counted, and memory at the fullest moment.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from monai.data import MetaTensor
from safetensors.torch import save_file

from medseg.bundle import build_network, build_segmenter, load_bundle
from medseg.inference import installed_runtimes, keep_freed_memory
from medseg.record import process_peak_memory_mb

CPU = torch.device("cpu")


def main() -> None:
    """Every way in turn, and the ratios of the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=3, default=(512, 512, 150))
    parser.add_argument("--bundle", default="transunet_synapse")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.way:
        print(json.dumps(measured(chosen.way, chosen.bundle, chosen.weights, chosen.size)))
        return
    ways = ("loop", *(name for name in installed_runtimes() if name != "onnx"))
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "random.safetensors"
        torch.manual_seed(0)
        bundle = load_bundle(chosen.bundle)
        network = bundle.build("network_def", bundle.parser(device=CPU))
        save_file({name: value.contiguous().clone() for name, value in network.state_dict().items()}, weights)
        words = ["--bundle", chosen.bundle, "--weights", str(weights), "--size", *map(str, chosen.size)]
        if "openvino" in ways:
            in_fresh_process("openvino", words)  # compiles
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for _ in range(chosen.repeats):
            for way in ways:
                runs[way].append(in_fresh_process(way, words))
    found = {way: {key: statistics.median(run[key] for run in each) for key in each[0]} for way, each in runs.items()}
    if chosen.json:
        print(json.dumps(found, indent=2))
        return
    for way, values in found.items():
        ratio = found["loop"]["seconds"] / values["seconds"]
        print(f"{way:10} {values['seconds']:8.1f} s {values['peak_mb']:8.0f} MB   {ratio:.2f}×")


def in_fresh_process(way: str, words: list[str]) -> dict[str, float]:
    """One measurement, where nothing was before."""
    command = [sys.executable, __file__, "--way", way, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def measured(way: str, name: str, weights: Path, size: list[int]) -> dict[str, float]:
    """Seconds and memory of one way."""
    keep_freed_memory()
    bundle = replace(load_bundle(name), weights=weights)
    image = MetaTensor(torch.rand(1, *size, generator=torch.Generator().manual_seed(0)) * 300)
    if way == "loop":
        network = build_network(bundle, device=CPU)
        plane = bundle.config["roi_size"]
        began = time.perf_counter()
        loop(image.as_tensor()[0] / 300, network, plane)
    else:
        segmenter = build_segmenter(bundle, device=CPU, runtime=way)
        began = time.perf_counter()
        segmenter(image)
    return {"seconds": round(time.perf_counter() - began, 2), "peak_mb": round(process_peak_memory_mb(), 1)}


@torch.inference_mode()
def loop(volume: torch.Tensor, network: torch.nn.Module, plane: list[int]) -> torch.Tensor:
    """Labels (I, J, K) of a volume, slice after slice."""
    labels = torch.zeros(volume.shape, dtype=torch.uint8)
    for number in range(volume.shape[2]):
        resized = F.interpolate(volume[None, None, :, :, number], size=plane, mode="bilinear", align_corners=False)
        found = network(resized).argmax(1, keepdim=True)
        labels[:, :, number] = F.interpolate(found.float(), size=volume.shape[:2], mode="nearest")[0, 0].to(torch.uint8)
    return labels


if __name__ == "__main__":
    main()
