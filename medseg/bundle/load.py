"""Bundles from disk: a folder in MONAI's format → its configuration, label table, parts and weights.

In: a bundle's name or folder. Out: a ``Bundle`` whose parts (network, preprocessing, inferer, …) are built on
demand by MONAI's ``ConfigParser``, so that medseg and MONAI's own tools run the same definition.
"""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.bundle.utils import merge_kv
from safetensors import SafetensorError
from torch import nn

from medseg.bundle.foreign import adapted, gives_regions, region_labels, without_own_steps
from medseg.bundle.found import FoundBundle, find_bundles, weights_in
from medseg.bundle.trust import check_digest, check_imports, check_part
from medseg.data import Channel, LabelSchema, load_schema
from medseg.errors import BundleError
from medseg.io import ChannelSpec
from medseg.labels import LabelTable
from medseg.networks.checkpoints import open_weights

__all__ = ["Bundle", "load_bundle", "load_weights", "parse_settings", "sha256_of"]

MOST_VALUES = 300_000
"""In one configuration file; lists of the cases of large data sets have some ten thousand."""


@dataclass(frozen=True)
class Bundle(FoundBundle):
    """One model folder: its configuration as written, and what it says of itself.

    ``config`` holds ``inference.yaml`` with the overlays that were asked for; nothing in it is built yet. Of a
    bundle that is not trusted, every part is looked at before it is built. ``notes`` say what was changed so that
    a bundle from elsewhere runs; ``weights`` take the place of its own, and so do parts that were ``built`` already.
    """

    config: Mapping[str, Any]
    is_trusted: bool = True
    notes: tuple[str, ...] = ()
    weights: Path | None = None
    built: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label_table(self) -> LabelTable:
        """What the voxel values of its segmentations mean."""
        return LabelTable.from_entries(self.entry("labels"), source=f"{self.name}: labels")

    @property
    def label_schema(self) -> LabelSchema:
        """The schema that the bundle names, or one made of its own labels.

        Raises:
            BundleError: the schema named is not that of the bundle's labels.
        """
        table = self.label_table
        name = self.config.get("label_schema")
        if name is None:
            return LabelSchema(name=self.name, title=self.name, source=self.name, labels=table.labels)
        schema = load_schema(str(name))
        if [(label.index, label.name) for label in schema.label_table] != [(one.index, one.name) for one in table]:
            raise BundleError(f"bundle {self.name}: its labels are not those of its label_schema {name}: repair it.")
        return schema

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The image channels that the network takes, in order."""
        entries = self.entry("channels")
        if not isinstance(entries, list) or not entries:
            raise BundleError(
                f"bundle {self.name}: channels are {entries!r}: a list of name and modality was expected."
            )
        return tuple(Channel.from_mapping(entry, source=f"{self.name}: channels") for entry in entries)

    @property
    def network_channels(self) -> tuple[str, ...]:
        """What each input channel of the network holds: a channel, or that of a neighbouring slice (``T1 -1``)."""
        names = [channel.name for channel in self.channels]
        context = int(self.config.get("context_slices", 0))
        return tuple(
            f"{name} {offset:+d}" if offset else name for offset in range(-context, context + 1) for name in names
        )

    @property
    def output_channels(self) -> tuple[str, ...]:
        """What each output channel of the network is: background and the labels, or the regions that it predicts."""
        regions = self.config.get("regions")
        return tuple(regions) if regions else ("background", *self.label_table.names)

    def regions_of(self, schema: LabelSchema) -> dict[str, tuple[int, ...]]:
        """The voxel values of each region that the network predicts; none where it predicts labels, one a voxel."""
        known = {region.name for region in schema.regions}
        named = self.config.get("regions") or ()
        return {name: schema.values_of(name) for name in named} if known.issuperset(named) else {}

    @property
    def channel_specs(self) -> tuple[ChannelSpec, ...]:
        """The channels as the readers want them, to find the file of each."""
        return tuple(ChannelSpec(name=channel.name, modality=channel.modality) for channel in self.channels)

    @property
    def weights_path(self) -> Path:
        """Where the trained weights lie, or should."""
        return self.weights or weights_in(self.folder)

    def entry(self, key: str) -> Any:
        """One value of the configuration, as written.

        Raises:
            BundleError: the configuration has no such value.
        """
        if key not in self.config:
            raise BundleError(f"bundle {self.name} has no {key!r} in its configuration: it is needed for this command.")
        return self.config[key]

    def with_config(self, **entries: Any) -> "Bundle":
        """The bundle with these values of its configuration instead."""
        return replace(self, config={**self.config, **entries})

    def parser(self, *, device: torch.device | None = None) -> ConfigParser:
        """A fresh parser over the configuration; each part is built once per parser.

        Raises:
            BundleError: an import, a reference or a macro in the configuration leads nowhere.
            TrustError: an import is not known to be harmless.
        """
        if not self.is_trusted:
            check_imports(self.config, self.folder)
        overrides: dict[str, Any] = {"bundle_root": str(self.folder)}
        if device is not None:
            overrides["device"] = f"$torch.device('{device}')"
        parser = ConfigParser(deepcopy({**self.config, **overrides}))  # parsing replaces relative ids in place
        try:
            parser.parse()
        except Exception as error:  # references and macros are the bundle's own text, and fail in many ways
            raise BundleError(f"bundle {self.name} cannot be parsed: {_one_line(_innermost(error))}") from error
        return parser

    def build(self, part: str, parser: ConfigParser) -> Any:
        """One part of the configuration, built.

        Raises:
            BundleError: the part is missing, or its constructor refused; the refusal's own words are kept.
            TrustError: it would run something that an unknown bundle may not.
        """
        if part in self.built:
            return self.built[part]
        self.entry(part)
        if not self.is_trusted:
            check_part(self.config, part, self.folder)
        try:
            return parser.get_parsed_content(part)
        except Exception as error:  # MONAI wraps whatever the constructor raised in a RuntimeError
            raise BundleError(
                f"bundle {self.name}: {part!r} cannot be built: {_one_line(_innermost(error))}"
            ) from error


def load_bundle(name_or_folder: str | Path, *, overlays: Sequence[str] = (), trust: str | None = None) -> Bundle:
    """The bundle of that name, or in that folder; ``overlays`` are laid over ``inference.yaml`` in order.

    Args:
        trust: the digest of a bundle that medseg does not bring along, by which a person vouches for its code.
    Raises:
        BundleError: there is no such bundle, or a file of it is missing or not valid YAML or JSON.
        TrustError: the digest given is not the bundle's.
    """
    folder = Path(name_or_folder)
    if not (folder / "configs").is_dir():
        known = find_bundles()
        if str(name_or_folder) not in known:
            raise BundleError(
                f"no bundle {str(name_or_folder)!r}: expected a folder with configs/, or one of {', '.join(known)}."
            )
        folder = known[str(name_or_folder)]
    folder = folder.resolve()
    files = [_config_file(folder, name) for name in ("inference", *overlays)]
    metadata = _read_mapping(_config_file(folder, "metadata"))
    if folder in {path.resolve() for path in find_bundles().values()}:
        return Bundle(folder=folder, config=_merged(files), metadata=metadata)
    if trust is not None:
        check_digest(folder, trust)
    return _from_elsewhere(Bundle(folder, metadata, _merged(files), is_trusted=trust is not None))


def _from_elsewhere(bundle: Bundle) -> Bundle:
    """A bundle that medseg does not bring along, with what medseg asks for."""
    config, notes = adapted(without_own_steps(bundle.config), bundle.metadata)
    bundle = replace(bundle, config=config, notes=notes)
    if "labels" not in config and gives_regions(config):
        parser = bundle.parser(device=torch.device("cpu"))
        labels = region_labels(bundle.build("postprocessing", parser), bundle.metadata)
        bundle = replace(bundle, config={**config, "labels": labels})
    return bundle


def load_weights(network: nn.Module, path: str | Path, *, left_out: Collection[str] = ()) -> nn.Module:
    """The network with the trained weights in a file; every parameter must be there, and no other.

    Parameters in ``left_out`` keep the values they have, and must not be in the file.

    Files of PyTorch are read without running anything that is in them.

    Half precision is only how the file is kept: values are raised to the precision of the network. Integer
    entries (index tables, counters) are the network's own and are left as it made them.

    Raises:
        BundleError: the file is missing or damaged, or does not fit the network.
    """
    path = Path(path)
    if not path.is_file():
        raise BundleError(f"no trained weights at {path.name}: train the bundle, or download its weights.")
    try:
        state = open_weights(path)
    except (SafetensorError, OSError) as error:
        raise BundleError(f"{path.name} cannot be read as safetensors ({error}): fetch the weights again.") from error
    own = {key: value for key, value in network.state_dict().items() if value.is_floating_point()}
    state = {key: value for key, value in state.items() if value.is_floating_point()}
    state = _without_shared_prefix(state, own)
    _add_second_names(state, own)
    missing = sorted(set(own) - set(state) - set(left_out))
    unexpected = sorted(set(state) - set(own))
    misshapen = sorted(key for key in set(own) & set(state) if own[key].shape != state[key].shape)
    if missing or unexpected or misshapen:
        found = [
            f"{len(keys)} {what} (first: {keys[0]})"
            for what, keys in (("missing", missing), ("unexpected", unexpected), ("of another shape", misshapen))
            if keys
        ]
        raise BundleError(
            f"{path.name} does not fit the network: parameters {', '.join(found)}. Use the bundle's own weights."
        )
    network.load_state_dict({key: value.to(own[key].dtype) for key, value in state.items()}, strict=False)
    return network


def _without_shared_prefix(state: dict[str, torch.Tensor], own: Collection[str]) -> dict[str, torch.Tensor]:
    """The state under the network's names, where a program put one more name before all of them."""
    if any(key in own for key in state):
        return state
    prefixes = {key.removesuffix(name) for key in list(state)[:1] for name in own if key.endswith(f".{name}")}
    fitting = (prefix for prefix in prefixes if all(key.startswith(prefix) for key in state))
    prefix = next((one for one in fitting if all(key.removeprefix(one) in own for key in state)), "")
    return {key.removeprefix(prefix): value for key, value in state.items()}


def _add_second_names(state: dict[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> None:
    """Some networks list a parameter under two names (MONAI's DynUNet all of them): in a file one is enough."""
    name_of = {own[name].data_ptr(): name for name in state if name in own}
    for name, value in own.items():
        if name not in state and value.numel() and value.data_ptr() in name_of:
            state[name] = state[name_of[value.data_ptr()]]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal; read once while size and time stay as they are."""
    state = path.stat()
    return _sha256_of(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256_of(path: Path, size: int, modified_ns: int) -> str:  # noqa: ARG001  they tell one content from another
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def parse_settings(bundle: Bundle, section: str) -> Mapping[str, Any]:
    """One section of plain numbers of the configuration.

    Raises:
        BundleError: the section is missing.
    """
    if not isinstance(bundle.config.get(section), Mapping):
        raise BundleError(f"bundle {bundle.name} has no section {section!r}: it is needed for this command.")
    values: Mapping[str, Any] = bundle.config[section]
    return values


def _config_file(folder: Path, name: str) -> Path:
    for suffix in (".yaml", ".yml", ".json"):
        if (folder / "configs" / (name + suffix)).is_file():
            return folder / "configs" / (name + suffix)
    raise BundleError(f"{folder.name} has no configs/{name}.yaml or .json: it is not a complete MONAI bundle.")


def _merged(files: Sequence[Path]) -> dict[str, Any]:
    """The files laid over one another by MONAI's rules: ``network_def::dropout_rate`` replaces one nested value."""
    merged = ConfigParser(config={})
    for file in files:
        for key, value in _read_mapping(file).items():
            try:
                merge_kv(merged, key, value)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                raise BundleError(
                    f"{file.name}: {key!r} fits nothing in the files before it: correct the key."
                ) from error
    config: dict[str, Any] = merged.get()
    return config


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        values = (
            json.loads(path.read_text(encoding="utf-8"))
            if path.suffix == ".json"
            else ConfigParser.load_config_file(path)
        )
    except Exception as error:  # yaml and json each raise their own kind; the file is at fault either way
        raise BundleError(f"{path.name} cannot be parsed: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise BundleError(f"{path.name} holds a {type(values).__name__}: a mapping of names to values was expected.")
    wrong = [key for key in values if not isinstance(key, str)]
    if wrong:  # YAML reads yes, 1 and null as something else
        raise BundleError(f"{path.name} has the key {wrong[0]!r}, which is no text: put it into quotes.")
    _check_size(values, path)
    return values


def _check_size(values: dict[str, Any], path: Path) -> None:
    """Refuse what grows without a bound when it is gone through: a YAML alias may stand inside what it names."""
    waiting: list[Any] = [values]
    for _ in range(MOST_VALUES):
        if not waiting:
            return
        value = waiting.pop()
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    raise BundleError(f"{path.name} holds more than {MOST_VALUES} values, or itself: take out its YAML aliases.")


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error
