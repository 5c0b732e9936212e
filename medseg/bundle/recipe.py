"""A plan's training as ``train.yaml``: the recipe, every number with its reason, for a person to change."""

from medseg.bundle.plan import Plan
from medseg.bundle.template import LOWEST

__all__ = ["train_yaml"]


def train_yaml(plan: Plan) -> str:
    """``train.yaml``: the recipe, laid over ``inference.yaml``."""
    mirror = (
        '    - {_target_: RandFlipd, keys: [image, label], prob: 0.5, spatial_axis: "@mirror_axes"}\n'
        if plan.mirrored_axes
        else ""
    )
    why_mirror = (
        "No label is left or right: the first axis may be mirrored."
        if plan.mirrored_axes
        else "Nothing is mirrored: some labels are left or right."
    )
    supervision = "  deep_supervision: true  # the network has several heads\n" if plan.deep_supervision else ""
    gigabytes = plan.training_mb / 1000
    return f"""\
# Training recipe, laid over inference.yaml: what stands there is not repeated here.

training:
  steps: {plan.steps}  # for a {"GPU" if plan.device == "cuda" else "CPU"}; more is better, up to some ten thousand
  batch_size: {plan.batch_size}  # scans, of each {plan.samples_per_scan} crops: {gigabytes:.1f} GB of maps
  learning_rate: 0.001  # at its highest, after the warm-up
  seed: 2026  # of first weights, crops and changes: another one is another training
  ema_decay: 0.998  # weights averaged over about 500 steps: what is validated and kept
  gradient_clip_norm: 1.0  # one odd crop moves the weights no further than others
{supervision}  validate_every: 250  # steps; the weights with the best validation are kept
  checkpoint_every: 100  # steps lost at most where a training is ended

{_loss(plan)}
optimizer:
  _target_: torch.optim.AdamW
  params: $@network.parameters()
  lr: $@training['learning_rate']
  weight_decay: 0.01  # more where the training cases are learnt by heart

lr_scheduler:
  _target_: monai.optimizers.WarmupCosineSchedule
  optimizer: "@optimizer"
  warmup_steps: $min(100, @training['steps'] // 10)  # the rate rises: first gradients are wild
  t_total: $@training['steps']  # by then it has sunk to 0

# Of each preprocessed scan, at every step anew. {why_mirror}
{_crop_sizes(plan)}
augmentation:
  _target_: Compose
  transforms:
{_crop_steps(plan)}    - _target_: RandAffined
      keys: [image, label]
      prob: 0.7  # patients lie and grow differently
{_affine_ranges(plan)}      mode: [bilinear, nearest]
      padding_mode: [border, zeros]
    - {{_target_: CenterSpatialCropd, keys: [image, label], roi_size: "@crop_size"}}
{mirror}    - _target_: RandGaussianSmoothd
      keys: image
      prob: 0.2  # scanners differ in sharpness, noise, contrast and brightness
      sigma_x: [0.3, 0.9]
      sigma_y: [0.3, 0.9]
      sigma_z: [0.3, 0.9]
    - {{_target_: RandGaussianNoised, keys: image, prob: 0.2, std: 0.1}}
    - {{_target_: RandScaleIntensityd, keys: image, prob: 0.5, factors: 0.15}}
    - {{_target_: RandShiftIntensityd, keys: image, prob: 0.5, offsets: 0.1}}
{_slice_step(plan)}
# python -m monai.bundle run --config_file "['configs/inference.yaml','configs/train.yaml']" --bundle_root .
#   --data MANIFEST --data_root FOLDER --output_dir FOLDER
+imports:
  - $from medseg.training import train_bundle
data: ""  # a data manifest: a name or a file
data_root: ""  # where its scans lie
parts:  # with what overrides on that command line and further configuration files make of them
  training: "@training"
  network: "@network"
  preprocessing: "@preprocessing"
  augmentation: "@augmentation"
  inferer: "@inferer"
  loss: "@loss"
  optimizer: "@optimizer"
  lr_scheduler: "@lr_scheduler"
initialize:
  - $torch.manual_seed(@training['seed'])  # before the network's first weights are drawn
run:
  - $train_bundle(@bundle_root, data=@data, data_root=@data_root, output=@output_dir, device=str(@device), parts=@parts)
"""


def _loss(plan: Plan) -> str:
    dice = """\
_target_: DiceCELoss
to_onehot_y: true
softmax: true
include_background: false
squared_pred: false
batch: true  # one Dice over the batch: a crop may lack a label
"""
    if not plan.deep_supervision:
        return "loss:\n" + _shifted(dice, 2)
    return "loss:\n  _target_: DeepSupervisionLoss\n  loss:\n" + _shifted(dice, 4)


def _crop_sizes(plan: Plan) -> str:
    """The size of a crop, and what is cut out around it first: turned at its own size, it would lose its corners."""
    crop, margin = "@roi_size", "[size // 8 for size in @roi_size]"
    if plan.slice_axis is not None:  # slabs of one slice and its neighbours
        axis = plan.slice_axis
        crop = f"[*@roi_size[:{axis}], 2 * @context_slices + 1, *@roi_size[{axis}:]]"
        margin = f"[*{margin}[:{axis}], 0, *{margin}[{axis}:]]"
    return f"""\
crop_size: "${crop}"
margin: "${margin}"  # around a crop while it is turned: its corners stay filled
turned_size: "$[size + 2 * around for size, around in zip(@crop_size, @margin)]"
"""


def _crop_steps(plan: Plan) -> str:
    outside = f', value: "{LOWEST}"' if plan.is_ct else ""
    borders = '"$[around for around in @margin for _ in range(2)]"'
    return f"""\
{_end_steps(plan)}    - {{_target_: SpatialPadd, keys: image, spatial_size: "@crop_size", mode: constant{outside}}}
    - {{_target_: SpatialPadd, keys: label, spatial_size: "@crop_size", mode: constant}}
    - {{_target_: BorderPadd, keys: image, spatial_border: {borders}, mode: constant{outside}}}
    - {{_target_: BorderPadd, keys: label, spatial_border: {borders}, mode: constant}}
    - _target_: RandCropByPosNegLabeld  # two of three crops lie around a label
      keys: [image, label]
      label_key: label
      spatial_size: "@turned_size"
      pos: 2
      neg: 1
      num_samples: {plan.samples_per_scan}
"""


def _end_steps(plan: Plan) -> str:
    """Slabs reach beyond the first and the last slice, or these would never be the central one that is learnt."""
    if plan.slice_axis is None:
        return ""
    beyond = ["0", "0", "0"]
    beyond[plan.slice_axis] = "@context_slices"
    border = f'spatial_border: "$[{", ".join(beyond)}]"'
    return f"""\
    - {{_target_: BorderPadd, keys: image, {border}, mode: edge}}  # as where the model is used
    - {{_target_: BorderPadd, keys: label, {border}, mode: constant}}
"""


def _affine_ranges(plan: Plan) -> str:
    """Slices turn within their plane only: a slab of a few is thin, and turned out of it its labels would be gone."""
    if plan.slice_axis is None:
        turns, scales, reason = [0.25] * 3, [[-0.15, 0.15]] * 3, ""
    else:
        turns = [0.25 if axis == plan.slice_axis else 0.0 for axis in range(3)]
        scales = [[0.0, 0.0] if axis == plan.slice_axis else [-0.15, 0.15] for axis in range(3)]
        reason = "  # within the slices only: a slab of a few is thin"
    return f"      rotate_range: {turns}{reason}\n      scale_range: {scales}\n"


def _slice_step(plan: Plan) -> str:
    if plan.slice_axis is None:
        return ""
    return (
        '    - {_target_: medseg.transforms.CentralSliced, keys: [image, label], axis: "@slice_axis", '
        'context: "@context_slices"}\n'
    )


def _shifted(text: str, spaces: int) -> str:
    return "".join(" " * spaces + line + "\n" for line in text.splitlines())
