"""Weights of others as medseg keeps them: the authors' files, and published starts.

In: a network's name, a file, settings. Out: a folder that can be laid over a bundle::

    models/model.safetensors   the weights under our names, in float32
    configs/network.yaml       ``network_def`` with every setting that they need
    import_report.json         what became of every key of the file
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Literal, cast

import torch
import yaml
from safetensors.torch import save_file
from torch import nn

from medseg.atomic import atomic_write, check_target
from medseg.bundle.load import sha256_of
from medseg.errors import OutputError, SettingsError
from medseg.networks import LoadReport, load_released, load_start
from medseg.networks.checkpoints import known_importers, open_weights, released_settings, settings_told_by
from medseg.settings import Settings

__all__ = ["ImportedWeights", "MergingOrder", "import_weights"]

MergingOrder = Literal["legacy", "current"]

WITH_MERGING: Final = "swin_unetr"
"""The one network whose weights come in two orders of patch merging."""

DOWNSAMPLE: Final[Mapping[MergingOrder, str]] = {"legacy": "legacy_merging", "current": "merging"}
"""The order under the name that the released code's setting has in ``load_released``."""

START_SEED: Final = 0
"""Of what a published start leaves to chance, so that the same import gives the same file."""


@dataclass(frozen=True)
class ImportedWeights:
    """What was written, and what became of every key of the file."""

    report: LoadReport
    merging: MergingOrder | None
    files: tuple[Path, ...]

    def as_json(self) -> dict[str, Any]:
        """Counts first, then every key by name."""
        return {
            "network": self.report.network,
            "merging": self.merging,
            "counts": self.report.counts,
            "parameters": self.report.parameters,
            "loaded": dict(self.report.loaded),
            "interpolated": list(self.report.interpolated),
            "derived": list(self.report.derived),
            "unused": dict(self.report.unused),
            "missing": list(self.report.not_started),
        }


def import_weights(  # noqa: PLR0913  what of which network, at which settings, to where
    network: str,
    weights: Path,
    output: Path,
    *,
    config: str | Path | None = None,
    merging: MergingOrder | None = None,
    start: str | None = None,
    overwrite: bool = False,
) -> ImportedWeights:
    """Read a published file of weights and keep it as medseg's own.

    Args:
        network: one of ``swin_unetr transunet ds_transunet dformer att_swin_unet``.
        weights: .pt, .pth, .zip, .safetensors or .npz; nothing in it is executed.
        output: the folder to write to.
        config: a JSON or YAML file with the released code's own settings, or the name of a published setting
            (``btcv``, ``r50_vit_b16``). Without it the shapes of the weights tell what they can.
        merging: order of Swin UNETR's patch merging; ``legacy`` unless the settings or this say otherwise,
            because every published weight was trained with it.
        start: which published start for a part of the network the file is (``imagenet``); the rest stays random.
    Raises:
        SettingsError: the network, a setting or the start is unknown, or ``merging`` has no meaning here.
        WeightsError: the file is unreadable, or one of its keys or shapes is not explained.
        OutputError: a result exists, or cannot be written.
    """
    if network not in known_importers():
        raise SettingsError(f"no importer for the network {network!r}: choose one of {', '.join(known_importers())}.")
    if merging is not None and network != WITH_MERGING:
        raise SettingsError(f"{network} has one order of patch merging: --merging is for {WITH_MERGING} alone.")
    files = tuple(output / name for name in ("models/model.safetensors", "configs/network.yaml", "import_report.json"))
    for path in files:
        if path.exists():
            check_target(path, overwrite=overwrite)
    module, report = (
        _released(network, weights, config, merging) if start is None else _started(network, weights, config, start)
    )
    settings = cast("Settings", module.config)
    imported = ImportedWeights(report, getattr(settings, "merging", None), files)
    content = {"source": {"sha256": sha256_of(weights)}, **imported.as_json()}
    _write(module, content, files, overwrite=overwrite)
    return imported


def _released(
    network: str, weights: Path, config: str | Path | None, merging: MergingOrder | None
) -> tuple[nn.Module, LoadReport]:
    state = open_weights(weights)
    settings = _published(network, config)
    if settings is not None:
        if merging is not None:
            settings = type(settings).from_mapping({**settings.model_dump(), "merging": merging}, source="--merging")
        return load_released(network, state, settings)
    theirs = _read_config(config) if config is not None else settings_told_by(network, state)
    if network == WITH_MERGING and (merging is not None or "downsample" not in theirs):
        theirs = {**theirs, "downsample": DOWNSAMPLE[merging or "legacy"]}
    return load_released(network, state, theirs)


def _started(network: str, weights: Path, config: str | Path | None, start: str) -> tuple[nn.Module, LoadReport]:
    state = open_weights(weights)
    settings = _published(network, config)
    if settings is None:
        settings = released_settings(network, {}, _read_config(config) if config is not None else {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(START_SEED)
        module: nn.Module = import_module(f"medseg.networks.{network}").NETWORK(settings)
    return module, load_start(network, module, state, start=start)


def _published(network: str, name: str | Path | None) -> Settings | None:
    """A published setting by name; None where the name is a file or was not given.

    Raises:
        SettingsError: it is neither.
    """
    if name is None or Path(name).is_file():
        return None
    config = import_module(f"medseg.networks.{network}").CONFIG
    published = sorted(
        key for key, value in vars(config).items() if isinstance(value, classmethod) and key != "tiny" and key[0] != "_"
    )
    if str(name) not in published:
        raise SettingsError(
            f"--config {name} is neither a file nor a published setting of {network}: "
            f"give a JSON or YAML file, or one of {', '.join(published)}."
        )
    settings: Settings = getattr(config, str(name))()
    return settings


def _read_config(path: str | Path) -> dict[str, Any]:
    """The released code's settings from a file; those of a larger description stand under ``config``."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))  # JSON is YAML
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(
            f"{Path(path).name} cannot be read as JSON or YAML: {' '.join(str(error).split())}"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("config"), Mapping):
        content = content["config"]
    if not isinstance(content, Mapping):
        raise SettingsError(f"{Path(path).name} holds no settings: a mapping of names to values was expected.")
    return {str(key): value for key, value in content.items()}


def _write(module: nn.Module, report: Mapping[str, Any], files: tuple[Path, ...], *, overwrite: bool) -> None:
    """The weights last: where they are, the import is complete."""
    weights, config, described = files
    settings = cast("Settings", module.config).model_dump(mode="json")
    definition = {"_target_": f"medseg.networks.{type(module).__name__}", "config": settings}
    for path in files:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{path.parent} cannot be made ({error.strerror}): choose another --output.") from error
    with atomic_write(described, overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    with atomic_write(config, overwrite=overwrite) as temporary:
        temporary.write_text(yaml.safe_dump({"network_def": definition}, sort_keys=False), encoding="utf-8")
    state = {key: value.detach().contiguous().clone() for key, value in module.state_dict().items()}
    with atomic_write(weights, overwrite=overwrite) as temporary:
        save_file(state, temporary)
