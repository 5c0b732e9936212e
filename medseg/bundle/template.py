"""A plan as the files of a bundle: every decision on a line of its own, with its reason, for a person to change."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from medseg.bundle.plan import Plan
from medseg.data import DataManifest, Fingerprint
from medseg.labels import Label

__all__ = ["LOWEST", "evaluate_yaml", "inference_yaml", "multi_gpu_yaml", "readme"]

LOWEST = "$(@intensity_hu[0] - @mean_hu) / @deviation_hu"
"""What air becomes in a CT."""

HIGHEST = "$(@intensity_hu[1] - @mean_hu) / @deviation_hu"

AXIS_NAMES = ("left to right", "back to front", "bottom to top")


def inference_yaml(plan: Plan, manifest: DataManifest, fingerprint: Fingerprint) -> str:
    """``inference.yaml``: what the network sees, how it is laid over a scan, what it finds."""
    crops = "the patient" if plan.is_ct else "what is not 0"
    extent = " × ".join(f"{size:.0f}" for size in fingerprint.extent_mm)
    labels = "\n".join(f"  - {_flow(_label_entry(label))}" for label in manifest.labels)
    channels = "\n".join(
        f"  - {_flow({'name': channel.name, 'modality': channel.modality})}" for channel in manifest.channels
    )
    schema = f"label_schema: {manifest.label_schema}\n" if manifest.label_schema else ""
    return f"""\
# {manifest.title}: {plan.network_class}.
# Every number of this model stands once, here, with its reason. The numbers were chosen from {fingerprint.cases}
# training cases of {manifest.name}; change what you know better.

imports:
  - $import torch
  - $from medseg.bundle import load_weights

bundle_root: .
image: scan.nii.gz  # the scan that `python -m monai.bundle run` segments
output_dir: segmentations

# What the network sees
channels:
{channels}
axcodes: {plan.axcodes}  # where the axes lead to: every scan is turned to them first
spacing_mm: {_flow(list(plan.spacing_mm))}  # median of the training scans, {", ".join(AXIS_NAMES)}
{_intensity_settings(plan)}
# How the network is laid over the scan; the median of {crops} is {extent} mm
{_window_settings(plan)}overlap: 0.5  # of neighbouring windows; less is faster, and rougher where they meet
{_mirror_settings(plan)}
# What it finds
{schema}labels:
{labels}

# The network: {plan.parameters / 1e6:.1f} million parameters
network_def:
  _target_: medseg.networks.{plan.network_class}
  config:
{_indented(plan.network_config, 4)}
weights: $@bundle_root + '/models/model.safetensors'

# The road
device: $torch.device('cuda' if torch.cuda.is_available() else 'cpu')
network: $@network_def.to(@device)
preprocessing:
  _target_: Compose
  transforms:
    - {{_target_: LoadImaged, keys: image, image_only: true, ensure_channel_first: true}}
    - {{_target_: Orientationd, keys: image, axcodes: "@axcodes", labels: null}}
    - {{_target_: Spacingd, keys: image, pixdim: "@spacing_mm", mode: bilinear}}
{_intensity_steps(plan)}    - {{_target_: EnsureTyped, keys: image, device: "@device", track_meta: true}}
{_inferer(plan)}postprocessing:
  _target_: Compose
  transforms:
    - {{_target_: medseg.inference.RestoreLabelsd, keys: pred, reference_key: image}}
    - _target_: SaveImaged
      keys: pred
      output_dir: "@output_dir"
      output_postfix: ""
      output_dtype: $torch.uint8
      resample: false
      separate_folder: false

# python -m monai.bundle run --config_file configs/inference.yaml --bundle_root . --image scan.nii.gz
dataset: {{_target_: Dataset, data: ["$dict(image=@image)"], transform: "@preprocessing"}}
dataloader: {{_target_: DataLoader, dataset: "@dataset", batch_size: 1, num_workers: 0}}
evaluator:
  _target_: SupervisedEvaluator
  device: "@device"
  val_data_loader: "@dataloader"
  network: "@network"
  inferer: "@inferer"
  postprocessing: "@postprocessing"
initialize:
  - $load_weights(@network, @weights)
run:
  - $@evaluator.run()
"""


def evaluate_yaml() -> str:
    """``evaluate.yaml``: the test split, segmented and scored."""
    return """\
# The test cases of a manifest, segmented and scored; laid over inference.yaml.
# python -m monai.bundle run --config_file "['configs/inference.yaml','configs/evaluate.yaml']" --bundle_root .
#   --data MANIFEST --data_root FOLDER --output_dir FOLDER

+imports:
  - $from medseg.bundle import evaluate_bundle
data: ""  # a data manifest: a name or a file
data_root: ""  # where its scans lie
split: test
parts:  # with what overrides on that command line and further configuration files make of them
  weights: "@weights"
  network: "@network"
  preprocessing: "@preprocessing"
  inferer: "@inferer"
  postprocessing: "@postprocessing"
initialize: []
run:
  - $evaluate_bundle(@bundle_root, data=@data, data_root=@data_root, output=@output_dir, split=@split,
    device=str(@device), parts=@parts)
"""


def multi_gpu_yaml() -> str:
    """``multi_gpu_train.yaml``: several processes, one GPU each."""
    return """\
# Training on several GPUs of one machine, laid over inference.yaml and train.yaml:
# torchrun --nproc_per_node=GPUS -m monai.bundle run --bundle_root . --data MANIFEST --data_root FOLDER
#   --config_file "['configs/inference.yaml','configs/train.yaml','configs/multi_gpu_train.yaml']" --output_dir FOLDER
# or: torchrun --nproc_per_node=GPUS -m medseg train BUNDLE --data MANIFEST --output FOLDER

device: "$torch.device('cuda', int(__import__('os').environ['LOCAL_RANK']))"
"""


def readme(plan: Plan, manifest: DataManifest, fingerprint: Fingerprint) -> str:
    """``docs/README.md``: the model card, with room for the scores."""
    labels = ", ".join(f"{label.name} ({label.index})" for label in manifest.labels)
    channels = ", ".join(channel.name for channel in manifest.channels)
    volumes = "\n".join(
        f"| {name} | {volume:.2f} | {fingerprint.label_presence[name]:.0%} |"
        for name, volume in fingerprint.label_ml.items()
    )
    return f"""\
# {manifest.title}: {plan.network_class}

Finds {labels}.

| | |
|---|---|
| network | {plan.network_class}, {plan.parameters:,} parameters |
| input | {channels}, any orientation; resampled to {_flow(list(plan.spacing_mm))} mm |
| output | labels on the input's own grid |

## Run it

    medseg segment scan.nii.gz --bundle {plan.name} --output labels.nii.gz

## How it is trained

    medseg train {plan.name} --data {manifest.name} --data-root DATA --output RUN

The settings follow from {fingerprint.cases} training cases; `configs/inference.yaml` and `configs/train.yaml` say how.

| label | median volume (mL) | in how many cases |
|---|---|---|
{volumes}

## How well it does

Not measured yet: train it, then score the test cases with `medseg evaluate`, and write the figures here and in
`configs/metadata.json`.

Research only: not a medical device. Data: {manifest.citation} Licence of the data: `data_license.txt`.
"""


def _intensity_settings(plan: Plan) -> str:
    if plan.is_ct:
        low, high, mean, deviation = plan.intensities[0]
        return (
            f"intensity_hu: {_flow([round(low), round(high)])}  # 0.5th and 99.5th percentile inside the labels: clip\n"
            f"mean_hu: {mean:.0f}  # inside the labels, after clipping: z-score\n"
            f"deviation_hu: {max(deviation, 1):.0f}\n"
            "air_hu: -500  # what is below lies outside the patient; the scan is cropped to the rest\n"
        )
    return "intensity_percentiles: [0.5, 99.5]  # MR has no unit: clip each scan, then z-score\n"


def _intensity_steps(plan: Plan) -> str:
    lines = []
    if plan.is_ct:
        lines += [
            '{_target_: CropForegroundd, keys: image, source_key: image, select_fn: "$lambda hu: hu > @air_hu", '
            "allow_smaller: true}",
            '{_target_: ScaleIntensityRanged, keys: image, a_min: "$@intensity_hu[0]", a_max: "$@intensity_hu[1]", '
            f'b_min: "{LOWEST}", b_max: "{HIGHEST}", clip: true}}',
        ]
    else:
        if plan.crops_to_patient:
            lines.append("{_target_: CropForegroundd, keys: image, source_key: image, allow_smaller: true}")
        lines += [
            '{_target_: ScaleIntensityRangePercentilesd, keys: image, lower: "$@intensity_percentiles[0]", '
            'upper: "$@intensity_percentiles[1]", b_min: 0.0, b_max: 1.0, clip: true, channel_wise: true}',
            f"{{_target_: NormalizeIntensityd, keys: image, nonzero: {str(plan.uses_non_zero).lower()}, "
            "channel_wise: true}",
        ]
    return "".join(f"    - {line}\n" for line in lines)


def _mirror_settings(plan: Plan) -> str:
    """The axes that training may mirror; a line only where there are any."""
    if not plan.mirrored_axes:
        return ""
    return f"mirror_axes: {list(plan.mirrored_axes)}  # may be mirrored: no label is left or right\n"


def _window_settings(plan: Plan) -> str:
    window = f"roi_size: {_flow(list(plan.roi_size))}  # as much of it as the memory of one training step allows\n"
    if plan.slice_axis is None:
        return window
    return (
        f"slice_axis: {plan.slice_axis}  # slices are cut across the axis from {AXIS_NAMES[plan.slice_axis]}\n"
        f"context_slices: {plan.context_slices}  # neighbours on either side that are further channels\n" + window
    )


def _inferer(plan: Plan) -> str:
    if plan.slice_axis is None:
        cval = f'  cval: "{LOWEST}"  # air\n' if plan.is_ct else ""
        return f"""\
inferer:
  _target_: SlidingWindowInferer
  roi_size: "@roi_size"
  sw_batch_size: 2  # windows at once on a GPU
  overlap: "@overlap"
  mode: gaussian
  padding_mode: constant
{cval}"""
    return """\
inferer:
  _target_: medseg.inference.SliceBySliceInferer
  axis: "@slice_axis"
  roi_size: "@roi_size"
  context: "@context_slices"
  overlap: "@overlap"
""" + (f'  cval: "{LOWEST}"  # air\n' if plan.is_ct else "")


def _label_entry(label: Label) -> dict[str, Any]:
    entry: dict[str, Any] = label.model_dump(mode="json", exclude_none=True)
    return entry


def _flow(value: Mapping[str, Any] | Sequence[Any]) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True)
    return text.strip()


def _indented(values: Mapping[str, Any], spaces: int) -> str:
    def text(value: Any) -> str:
        return _flow(value) if isinstance(value, list | dict) else yaml.safe_dump(value).splitlines()[0]

    return "\n".join(" " * spaces + f"{key}: {text(value)}" for key, value in values.items())
