"""Two roads through one bundle, in turn, each in fresh processes: medians, ratios, and whether the labels agree."""

import json
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from safetensors.torch import save_file

from medseg.benchmark.measure import ProcessRun, run_process
from medseg.benchmark.nnunet import check_nnunet
from medseg.bundle import Bundle
from medseg.errors import CaseError, SettingsError
from medseg.inference import check_runtime
from medseg.io import CaseFiles

__all__ = ["Comparison", "PathResult", "compare"]

STOCK = "MONAI"
NNUNET = "nnU-Net's predictor"

MEASURES = ("seconds", "cpu_s", "peak_mb", "gpu_peak_mb")
"""What is compared of whole processes."""

STAGE_NAMES = {
    "read": "read and preprocess",
    "preprocess": "read and preprocess",
    "compile": "compile",
    "infer": "infer",
    "restore": "restore and write",
    "postprocess": "restore and write",
    "report": "picture and statistics",
}
"""The stages of medseg's run record under the names of both roads."""


@dataclass(frozen=True)
class PathResult:
    """Every run of one road; ``first`` is the one that found no compiled network, not among ``runs``.

    ``label_agreement`` is the share of voxels with the label of MONAI's road.
    """

    name: str
    first: ProcessRun | None
    runs: tuple[ProcessRun, ...]
    label_agreement: float
    computed_by: str = ""

    def median(self, measure: str) -> float:
        """The median of ``seconds``, ``cpu_s``, ``peak_mb`` or ``gpu_peak_mb`` over the runs; 0 without a GPU."""
        return float(statistics.median(getattr(run, measure) or 0.0 for run in self.runs))

    def median_stages(self) -> dict[str, float]:
        """The median seconds of each stage, in the order in which they come."""
        return {
            name: statistics.median(run.stage_s.get(name, 0.0) for run in self.runs) for name in self.runs[0].stage_s
        }

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "computed_by": self.computed_by,
            "first": self.first.as_json() if self.first else None,
            "runs": [run.as_json() for run in self.runs],
            "label_agreement": self.label_agreement,
        }


@dataclass(frozen=True)
class Comparison:
    """MONAI's road and medseg's, on one case of one bundle; ``peers`` are others that were asked for."""

    bundle_name: str
    case_id: str
    weights: str
    n_threads: int
    device: str
    stock: PathResult
    ours: tuple[PathResult, ...]
    peers: tuple[PathResult, ...] = ()

    @property
    def is_on_gpu(self) -> bool:
        """Whether a GPU computed, and its memory was measured."""
        return self.stock.median("gpu_peak_mb") > 0

    def ratio(self, road: PathResult, measure: str) -> float | None:
        """How many times less a road takes than MONAI's; None where it takes nothing of it."""
        taken = road.median(measure)
        return self.stock.median(measure) / taken if taken else None

    def as_json(self) -> dict[str, Any]:
        """Plain values, with the ratios."""
        return {
            "bundle": self.bundle_name,
            "case_id": self.case_id,
            "weights": self.weights,
            "n_threads": self.n_threads,
            "device": self.device,
            "stock": self.stock.as_json(),
            "peers": [self._with_ratios(path) for path in self.peers],
            "ours": [self._with_ratios(path) for path in self.ours],
        }

    def _with_ratios(self, path: PathResult) -> dict[str, Any]:
        ratios = {f"{measure}_ratio": self.ratio(path, measure) for measure in MEASURES}
        return path.as_json() | ratios


@dataclass(frozen=True)
class _Task:
    """What all processes of a comparison have in common."""

    bundle: Bundle
    inputs: Sequence[str]
    case: CaseFiles
    weights: Path | None
    trust: str | None
    device: str
    folder: Path


def compare(  # noqa: PLR0913  what runs on what, how, how often, and who watches
    bundle: Bundle,
    inputs: Sequence[str],
    case: CaseFiles,
    *,
    runtimes: Sequence[str],
    device: str,
    repeats: int,
    trust: str | None = None,
    with_nnunet: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    """Run both roads ``repeats`` times in turn; medseg once before, to fill its cache of compiled networks.

    Without weights both get the same random ones: times and memory do not depend on them.

    Args:
        inputs: the case as ``medseg segment`` takes it; ``case`` is what it resolves to.
        with_nnunet: MONAI's road once more, with nnU-Net's predictor in the place of the bundle's inferer.
    Raises:
        SettingsError: there is nothing to repeat, a runtime is unknown or not installed, or nnU-Net's predictor cannot
            take part.
        CaseError: MONAI cannot read the case as it lies: channels in a 4D file in another order.
        RunError: a process failed.
    """
    if repeats < 1 or not runtimes:
        raise SettingsError(f"{repeats} repeats of {len(runtimes)} runtimes: at least one of each was expected.")
    for runtime in runtimes:
        check_runtime(runtime, device=torch.device(device))
    if with_nnunet:
        check_nnunet(bundle.build("inferer", bundle.parser(device=torch.device("cpu"))))
    others = (STOCK, NNUNET) if with_nnunet else (STOCK,)
    with tempfile.TemporaryDirectory() as folder:
        weights = bundle.weights or (None if bundle.weights_path.is_file() else _random_weights(bundle, Path(folder)))
        task = _Task(bundle, inputs, case, weights, trust, device, Path(folder))
        files = _files_of(case)
        total, done = len(runtimes) * (repeats + 1) + len(others) * repeats, 0
        other_runs: dict[str, list[ProcessRun]] = {name: [] for name in others}
        first: dict[str, ProcessRun] = {}
        our_runs: dict[str, list[ProcessRun]] = {runtime: [] for runtime in runtimes}
        labels: dict[str, Path] = {}
        computed_by: dict[str, str] = {}
        for turn in range(repeats + 1):
            for name in others if turn else ():
                run, labels[name], computed_by[name] = _run_stock(task, files, is_nnunet=name == NNUNET)
                other_runs[name].append(run)
                progress(done := done + 1, total)
            for runtime in runtimes:
                run, labels[runtime], computed_by[runtime] = _run_ours(task, runtime)
                if turn:
                    our_runs[runtime].append(run)
                else:
                    first[runtime] = run
                progress(done := done + 1, total)
        expected = _values(labels[STOCK])
        ours = tuple(
            PathResult(
                name=f"medseg, {runtime}",
                first=first[runtime],
                runs=tuple(our_runs[runtime]),
                label_agreement=float((_values(labels[runtime]) == expected).mean()),
                computed_by=computed_by[runtime],
            )
            for runtime in runtimes
        )
        stock, *peers = (
            PathResult(name, None, tuple(runs), float((_values(labels[name]) == expected).mean()), computed_by[name])
            for name, runs in other_runs.items()
        )
        return Comparison(
            bundle_name=bundle.name,
            case_id=case.case_id,
            weights="its own" if weights is None else ("random" if bundle.weights is None else "given"),
            n_threads=torch.get_num_threads(),
            device=device,
            stock=stock,
            ours=ours,
            peers=tuple(peers),
        )


def _run_stock(task: _Task, files: Sequence[Path], *, is_nnunet: bool) -> tuple[ProcessRun, Path, str]:
    output = tempfile.mkdtemp(dir=task.folder)
    request = {
        "bundle": str(task.bundle.folder),
        "files": [str(path) for path in files],
        "weights": str(task.weights) if task.weights else None,
        "trust": task.trust,
        "device": task.device,
        "output": output,
        "is_nnunet": is_nnunet,
    }
    run, printed = run_process("medseg.benchmark.stock", [json.dumps(request)], environment={})
    said = json.loads(printed.strip().splitlines()[-1])
    return replace(run, **said["measured"]), Path(said["labels"]), said["computed_by"]


def _run_ours(task: _Task, runtime: str) -> tuple[ProcessRun, Path, str]:
    output = task.folder / runtime / "labels.nii.gz"
    output.parent.mkdir(exist_ok=True)
    options = {"--bundle": task.bundle.folder, "--output": output, "--device": task.device, "--runtime": runtime}
    options |= {"--weights": task.weights} if task.weights else {}
    options |= {"--trust": task.trust} if task.trust else {}
    words = [*task.inputs, *(str(word) for pair in options.items() for word in pair), "--overwrite", "--quiet"]
    # A cache of its own: the first run has nothing compiled, the others have.
    cache = {"MEDSEG_CACHE": str(task.folder / "cache")}
    run, _ = run_process("medseg", ["segment", *words], environment=cache)
    record: Mapping[str, Any] = json.loads(output.with_name("labels.json").read_text(encoding="utf-8"))
    used = record.get("runtime") or {"name": "torch", "precision": "float32"}
    stage_s = dict.fromkeys(STAGE_NAMES.values(), 0.0)
    for stage, seconds in record["stage_s"].items():
        stage_s[STAGE_NAMES[stage]] += seconds
    run = replace(run, stage_s=stage_s, gpu_peak_mb=record["gpu_peak_memory_mb"])
    return run, output, f"{used['name']} {used['precision']}"


def _files_of(case: CaseFiles) -> list[Path]:
    """The case's files as MONAI loads them: one for each channel, or one 4D file whose frames are in order."""
    frames = [entry.frame for entry in case.channels]
    if all(frame is None for frame in frames):
        return [entry.path for entry in case.channels]
    paths = {entry.path for entry in case.channels}
    if len(paths) == 1 and frames == list(range(len(frames))):
        return [*paths]
    raise CaseError(
        f"{case.case_id}: its channels are frames {frames} of {len(paths)} files: MONAI's own road takes one file for "
        "each channel, or all frames of one in order. Split the file first."
    )


def _random_weights(bundle: Bundle, folder: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = bundle.build("network_def", bundle.parser(device=torch.device("cpu")))
    path = folder / "random.safetensors"
    save_file({name: value.contiguous().clone() for name, value in network.state_dict().items()}, path)
    return path


def _values(path: Path) -> np.ndarray[Any, Any]:
    image = nib.load(path)
    return np.asarray(image.dataobj).squeeze()
