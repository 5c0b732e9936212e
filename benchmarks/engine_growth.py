"""Memory and time of the engine against the size of a volume and the number of classes, with a simulated network.

    python benchmarks/engine_growth.py [--json] [--picture growth.png] [--largest 1024 1024 600] [--only growth]

The network costs next to nothing: what is measured is the engine itself, from an image in memory to its label map,
one point in each fresh process. Windows of 96³ with an overlap of a half, blended with Gaussian weights.
"""

import argparse
import json
import subprocess
import sys
import time
from math import prod
from pathlib import Path

import torch
from matplotlib.figure import Figure
from monai.data import MetaTensor
from monai.inferers import SlidingWindowInferer
from monai.transforms import Compose
from torch import nn

from medseg.inference import Segmenter
from medseg.labels import Label, LabelTable
from medseg.record import process_peak_memory_mb

WINDOW = 96
CLASSES = ((512, 512, 300), (14, 105))
SLICES = ((512, 512), (300, 600, 900))
GROWTH = ((128, 128, 75), (256, 256, 150), (512, 512, 300), (768, 768, 450))
"""Sizes of one shape, each with a multiple of the voxels of the one before; the largest is an option."""

GROWTH_CLASSES = 3


class Simulated(nn.Module):
    """Logits (B, L, *S) of windows (B, 1, *S): the image itself, scaled differently for each class."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.n_classes = n_classes

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """One product a class."""
        scales = torch.linspace(-1, 1, self.n_classes).reshape(1, -1, 1, 1, 1)
        return windows * scales


def main() -> None:
    """Measure every point in a fresh process, and print and draw what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--picture", type=Path, help="where to draw growth with the number of voxels")
    parser.add_argument("--largest", type=int, nargs=3, default=(1024, 1024, 600), help="the last size of the growth")
    parser.add_argument("--only", choices=["growth"], help="leave out classes and slices")
    parser.add_argument("--point", type=int, nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.point:
        print(json.dumps(measured(tuple(chosen.point[:3]), chosen.point[3])))
        return
    largest = tuple(chosen.largest)
    sizes = [size for size in GROWTH if prod(size) < prod(largest)]
    found = {"growth": [in_fresh_process(size, GROWTH_CLASSES) for size in (*sizes, largest)]}
    if chosen.only is None:
        found["classes"] = [in_fresh_process(CLASSES[0], count) for count in CLASSES[1]]
        found["slices"] = [in_fresh_process((*SLICES[0], count), GROWTH_CLASSES) for count in SLICES[1]]
    if chosen.picture:
        draw(found["growth"], chosen.picture)
    print(json.dumps(found, indent=2) if chosen.json else in_words(found))


def measured(size: tuple[int, int, int], n_classes: int) -> dict[str, object]:
    """Segment one volume here; seconds, and what memory it took beyond what the imports had taken."""
    segmenter = Segmenter(
        preprocessing=Compose([]),
        network=Simulated(n_classes),
        inferer=SlidingWindowInferer(roi_size=(WINDOW,) * 3, overlap=0.5, mode="gaussian"),
        postprocessing=Compose([]),
        label_table=LabelTable(
            labels=tuple(Label(index=one, name=f"label_{one}", color=(one, one, one)) for one in range(1, n_classes))
        ),
        channel_names=("CT",),
    )
    before = process_peak_memory_mb()
    image = MetaTensor(torch.rand(1, *size, generator=torch.Generator().manual_seed(0)))
    began = time.perf_counter()
    labels = segmenter(image).labels
    seconds = time.perf_counter() - began
    return {
        "size": size,
        "classes": n_classes,
        "seconds": round(seconds, 2),
        "image_mb": round(image.nbytes / 1e6, 1),
        "labels_mb": round(labels.nbytes / 1e6, 1),
        "peak_mb": round(process_peak_memory_mb() - before, 1),
    }


def in_fresh_process(size: tuple[int, ...], n_classes: int) -> dict[str, object]:
    """One point, measured where nothing was before."""
    words = [sys.executable, __file__, "--point", *map(str, size), str(n_classes)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def in_words(found: dict[str, list[dict[str, object]]]) -> str:
    """Every point on a line, and the two growths of memory that are promised where they were measured."""
    lines = [
        f"{kind:8} {'×'.join(map(str, point['size'])):14} {point['classes']:4} classes {point['seconds']:8.1f} s "
        f"{point['peak_mb']:9.0f} MB (image {point['image_mb']:.0f}, labels {point['labels_mb']:.0f})"
        for kind, points in found.items()
        for point in points
    ]
    if "classes" not in found:
        return "\n".join(lines)
    few, many = found["classes"]
    shape = sorted(few["size"])
    block_mb = 4 * (many["classes"] - few["classes"]) * WINDOW * shape[0] * shape[1] / 1e6
    short, *_, long = found["slices"]
    added = (long["image_mb"] + long["labels_mb"]) - (short["image_mb"] + short["labels_mb"])
    lines += [
        f"{few['classes']} to {many['classes']} classes: {many['peak_mb'] - few['peak_mb']:.0f} MB more; "
        f"the extra channels of one block of {WINDOW} planes are {block_mb:.0f} MB",
        f"{short['size'][2]} to {long['size'][2]} slices: {long['peak_mb'] - short['peak_mb']:.0f} MB more; "
        f"image and label map grow by {added:.0f} MB",
    ]
    return "\n".join(lines)


def draw(points: list[dict[str, object]], path: Path) -> None:
    """Time and memory against millions of voxels."""
    voxels = [prod(point["size"]) / 1e6 for point in points]
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    for axes, measure, unit in zip(figure.subplots(1, 2), ("seconds", "peak_mb"), ("seconds", "MB"), strict=True):
        axes.plot(voxels, [point[measure] for point in points], marker="o")
        axes.set_xlabel("millions of voxels")
        axes.set_ylabel(unit)
        axes.set_xlim(0)
        axes.set_ylim(0)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
