"""The five networks and nnU-Net's on one split with one set of metrics: the table in docs/leaderboard.md.

    python benchmarks/leaderboard/leaderboard.py --data-root DATA --output FOLDER [--markdown docs/leaderboard.md]
    python benchmarks/leaderboard/leaderboard.py … --minutes 40   # train all anew first

Without ``--minutes`` the weights that come along are scored. Each model segments the test cases of its task, which
neither its training nor the choice of its weights saw. The peer is MONAI's DynUNet with the recipe of our Swin UNETR.
"""

import argparse
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from medseg.bundle import Bundle, bundle_facts, evaluate_split, load_bundle
from medseg.data import load_manifest
from medseg.evaluation import Evaluation, compare_paired, holm, read_evaluation
from medseg.inference import keep_freed_memory
from medseg.training import train, with_settings

HERE = Path(__file__).parent
TASKS = {"hippocampus": "msd_hippocampus", "head_neck_oar": "openkbp"}
NETWORKS = ("swin_unetr", "dformer", "transunet", "ds_transunet", "att_swin_unet")
PEER = "dynunet"
CPU = torch.device("cuda" if torch.cuda.is_available() else "cpu")

STEPS_TO_TIME = 20
"""How many steps are trained to find how many fit into the minutes."""


@dataclass(frozen=True)
class Entry:
    """One model's row."""

    name: str
    parameters: int
    minutes: float
    steps: int
    seconds_a_case: float
    evaluation: Evaluation

    @property
    def dice(self) -> float:
        """Mean Dice over the test cases."""
        return self.evaluation.over_labels("dice").mean or 0.0


def bundle_of(network: str, task: str) -> Bundle | None:
    """The model of a network for a task; None where there is none."""
    folder = HERE / f"{PEER}_{task}" if network == PEER else HERE.parents[1] / "bundles" / f"{network}_{task}"
    return load_bundle(folder, overlays=("train",)) if (folder / "configs").is_dir() else None


def trained_anew(bundle: Bundle, task: str, *, data_root: Path, output: Path, minutes: float) -> Bundle:
    """The bundle with weights trained for so many minutes, its learning rate falling over exactly these."""
    manifest = load_manifest(TASKS[task])
    arguments = {"manifest": manifest, "data_root": data_root, "device": CPU}
    never = f"validate_every={10**6}"
    first = train(with_settings(bundle, [f"steps={STEPS_TO_TIME}", never]), output=output / "timed", **arguments)
    steps = max(1, int(minutes * 60 / first.elapsed_s * STEPS_TO_TIME))
    result = train(with_settings(bundle, [f"steps={steps}"]), output=output / "training", **arguments)
    return replace(bundle, weights=result.files[0])


def training_of(bundle: Bundle) -> tuple[float, int]:
    """Minutes and steps of the training that gave the bundle's weights, by the logs beside them."""
    folder = bundle.weights_path.parent if bundle.weights else bundle.folder / "docs"
    minutes, steps = 0.0, 0
    for path in sorted(folder.glob("*log*.jsonl")):
        events = [json.loads(line) for line in path.read_text().splitlines()]
        minutes += max(event.get("elapsed_s", 0.0) for event in events) / 60
        steps += max(event["step"] for event in events)
    return minutes, steps


def entry_of(bundle: Bundle, task: str, *, data_root: Path, output: Path) -> Entry:
    """The model's row; scores that lie in the folder are taken as they are."""
    began = time.perf_counter()
    timing = output / "seconds.json"
    if not timing.is_file():
        manifest = load_manifest(TASKS[task])
        evaluation = evaluate_split(bundle, manifest, data_root=data_root, output=output, device=CPU)
        timing.write_text(json.dumps((time.perf_counter() - began) / evaluation.n_cases))
    minutes, steps = training_of(bundle)
    return Entry(
        name=bundle.name.removesuffix(f"_{task}"),
        parameters=bundle_facts(bundle)["parameters"],
        minutes=minutes,
        steps=steps,
        seconds_a_case=json.loads(timing.read_text()),
        evaluation=read_evaluation(output),
    )


def table_of(entries: list[Entry]) -> list[str]:
    """The rows of one task, best first, each compared with the peer case by case."""
    entries = sorted(entries, key=lambda entry: entry.dice, reverse=True)
    peer = next((entry for entry in entries if entry.name == PEER), None)
    others = [entry for entry in entries if entry is not peer]
    compared = {entry.name: compare_paired(entry.evaluation, peer.evaluation) for entry in others if peer}
    corrected = dict(zip(compared, holm([one.p_value for one in compared.values()]), strict=True))
    rows = [
        "| network | parameters | steps (minutes) | mean Dice [95 % interval] | HD95 (mm) | surface Dice at 1 mm "
        "| against DynUNet [95 % interval] | p |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for entry in entries:
        dice, hd95, nsd = (entry.evaluation.over_labels(metric) for metric in ("dice", "hd95_mm", "nsd"))
        interval = dice.ci95 or (float("nan"),) * 2
        against, p_value = "–", "–"
        if entry.name in compared:
            difference = compared[entry.name].difference
            low, high = difference.ci95 or (float("nan"),) * 2
            against, p_value = f"{difference.mean:+.3f} [{low:+.3f}, {high:+.3f}]", f"{corrected[entry.name]:.2g}"
        rows.append(
            f"| {entry.name} | {entry.parameters / 1e6:.1f} M | {entry.steps} ({entry.minutes:.0f}) "
            f"| {dice.mean:.3f} [{interval[0]:.3f}, {interval[1]:.3f}] | {hd95.mean:.2f} | {nsd.mean:.3f} "
            f"| {against} | {p_value} |"
        )
    return rows


def labels_of(entries: list[Entry]) -> list[str]:
    """Mean Dice of each label, a column a network."""
    entries = sorted(entries, key=lambda entry: entry.dice, reverse=True)
    rows = ["| Dice | " + " | ".join(entry.name for entry in entries) + " |", "|---" * (len(entries) + 1) + "|"]
    for name in entries[0].evaluation.label_names:
        cells = [f"{entry.evaluation.of_metric('dice', name=name).mean or 0:.3f}" for entry in entries]
        rows.append(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return rows


def page_of(results: dict[str, list[Entry]]) -> str:
    """The page with the tables of all tasks."""
    lines = [
        "# Leaderboard",
        "",
        "Each network's bundle, and MONAI's `DynUNet` (the network of nnU-Net) with the recipe of our Swin UNETR, on",
        "the test cases of one split. Neither training nor the choice of weights saw them. Sizes are reduced so that a",
        "network trains on one CPU core; the minutes are those of the weights that come along, on shared cores.",
        "Intervals by bootstrap over cases; p by Wilcoxon's signed-rank test against DynUNet, corrected after Holm.",
        "",
        "    python benchmarks/leaderboard/leaderboard.py --data-root DATA --output runs/leaderboard",
        "",
    ]
    for task, entries in results.items():
        if all(entry.name != PEER for entry in entries):
            lines += [f"DynUNet has not been trained for {task} yet: no row, and nothing to compare with.", ""]
        lines += [f"## {task} ({entries[0].evaluation.n_cases} test cases of `{TASKS[task]}`)", ""]
        lines += [*table_of(entries), "", *labels_of(entries), ""]
    return "\n".join(lines)


def main() -> None:
    """Score, and train first where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder around the data sets")
    parser.add_argument("--output", type=Path, required=True, help="predictions and scores; what is there stays")
    parser.add_argument("--tasks", nargs="+", choices=tuple(TASKS), default=list(TASKS))
    parser.add_argument("--networks", nargs="+", choices=(*NETWORKS, PEER), default=[*NETWORKS, PEER])
    parser.add_argument("--minutes", type=float, help="train each network anew for so long")
    parser.add_argument("--markdown", type=Path, help="write the page here too")
    options = parser.parse_args()
    keep_freed_memory()
    results: dict[str, list[Entry]] = {}
    for task in options.tasks:
        for network in options.networks:
            bundle, output = bundle_of(network, task), options.output / task / network
            if bundle is None:
                continue
            if options.minutes:
                anew = {"data_root": options.data_root, "output": output, "minutes": options.minutes}
                bundle = trained_anew(bundle, task, **anew)
            if not bundle.weights_path.is_file():
                continue
            entry = entry_of(bundle, task, data_root=options.data_root, output=output / "test")
            results.setdefault(task, []).append(entry)
            print(f"{task} {network}: mean Dice {entry.dice:.4f}, {entry.seconds_a_case:.1f} s a case", flush=True)
    page = page_of(results)
    print("\n" + page)
    if options.markdown:
        options.markdown.parent.mkdir(parents=True, exist_ok=True)
        options.markdown.write_text(page)


if __name__ == "__main__":
    main()
