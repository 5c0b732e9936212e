"""Trust: what a bundle from elsewhere may run without anybody having vouched for it.

A bundle is a configuration, and MONAI's configurations can call anything. For a bundle that medseg does not bring
along, each part is looked at before it is built: its ``_target_`` must be a network, transform, inferer, loss,
optimiser or schedule of MONAI, torch or medseg, and its ``$`` expressions must stay within ``expressions`` and
``growth``. Anything beyond needs the bundle's digest, which a person gives after having read it.
"""

import hashlib
import inspect
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from monai.bundle.config_item import ComponentLocator
from monai.inferers import Inferer
from monai.transforms import Transform
from torch import nn, optim

from medseg.bundle.expressions import REFERENCE, forbidden_import, forbidden_part, is_import
from medseg.bundle.growth import MOST_VALUES, Growth
from medseg.errors import BundleError

__all__ = ["TrustError", "bundle_digest", "check_digest", "check_imports", "check_part", "class_of"]

KINDS: Final = (nn.Module, Transform, Inferer, optim.Optimizer, optim.lr_scheduler.LRScheduler)
PACKAGES: Final = ("medseg.", "monai.", "torch.nn.", "torch.optim.")
REFUSED_CLASSES: Final = frozenset(
    {
        *("SaveImage", "SaveImaged", "LoadImage", "LoadImaged", "WriteFileMapping", "WriteFileMappingd"),
        *("SaveClassificationd", "SaveClassificationD", "SaveClassificationDict"),
        *("PerceptualLoss", "CellSamWrapper", "RemoteModule", "PatchInferer", "ModelnnUNetWrapper", "Transchex"),
        *("MedicalNetPerceptualSimilarity", "RadImageNetPerceptualSimilarity"),
    }
)
"""Classes that read or write any file, of which the engine does what is needed, or fetch and run others' code."""
PRETRAINED: Final = "pretrained"
"""Part of the names of arguments by which networks fetch weights from the internet, or read any file."""
FETCHING: Final = {"TorchVisionFCModel": "weights"}
"""Arguments of other names that do so, by the class that has them."""
DEBUGGER: Final = "_debug_"
"""An argument at which MONAI stops in Python's debugger, and waits for somebody to type."""
CODE_SUFFIXES: Final = (".py", ".pyc", ".pyd", ".so", ".json", ".yaml", ".yml")
RELATIVE: Final = re.compile(r"[@%](?:#|::)")
"""A reference that counts from where it stands."""
PLAIN_PLACE: Final = re.compile(r"[\w:]*")
CONFIG_FILE: Final = re.compile(r"\.(json|yaml|yml)\b", re.IGNORECASE)


class TrustError(BundleError):
    """A bundle would run something that nobody has vouched for."""


def bundle_digest(folder: Path) -> str:
    """SHA-256 over everything in a bundle that can run: names and contents of its code and configuration files."""
    total = hashlib.sha256()
    for path in sorted(_files_below(folder)):
        if path.suffix.lower() in CODE_SUFFIXES:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return total.hexdigest()


def _files_below(folder: Path, above: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """Every file of a folder, those behind links to other folders too: Python imports them from there as well."""
    above |= {folder.resolve()}
    for path in folder.iterdir():
        if path.is_file():
            yield path
        elif path.is_dir() and path.resolve() not in above:
            yield from _files_below(path, above)


def check_digest(folder: Path, digest: str) -> None:
    """Hold a person's word against what the bundle is now.

    Raises:
        TrustError: it is another digest, so that something was changed since it was read.
    """
    found = bundle_digest(folder)
    if digest.strip().lower() != found:
        raise TrustError(
            f"bundle {folder.name} has the digest {found}, and --trust says {digest}: it is not what was vouched for. "
            "Read it again, and give its present digest."
        )


def check_imports(config: Mapping[str, Any], folder: Path) -> None:
    """Import statements run as soon as any part is built, wherever in the configuration they stand.

    Raises:
        TrustError: one names a module that is not known to be harmless, or a value is taken from another file.
    """
    for key in config:
        if set(key) & {"#", "@"} or "::" in key:  # to MONAI a way through the configuration, and not a name
            raise _refusal(folder, key, f"hides the entry {key!r} from references")
    for place, text in _texts(config, ""):
        if text[:1] in ("$", "%") and RELATIVE.search(text) and not PLAIN_PLACE.fullmatch(place):
            # MONAI writes the names of the entries around it into the text; of a macro they may name a file
            raise _refusal(folder, place, "puts its own keys into an expression or a macro")
        if text.startswith("$") and is_import(text[1:]):
            module = forbidden_import(text[1:])
            if module is not None:
                raise _refusal(folder, place, f"imports {module}")
        if text.startswith("%") and CONFIG_FILE.search(text):
            raise _refusal(folder, place, f"reads another file, {text[1:]}")


def check_part(config: Mapping[str, Any], part: str, folder: Path) -> None:
    """One part of the configuration, and all it refers to.

    Raises:
        TrustError: it would build or call something that is not among what an unknown bundle may run.
    """
    waiting, seen, growth = [part], set(), Growth(config)
    while waiting:
        key = waiting.pop()
        if key in seen or key not in config:
            continue
        seen.add(key)
        _check_value(config[key], key, folder, growth)
        for _, text in _texts(config[key], key):
            waiting += _referred(text)


def _referred(text: str) -> list[str]:
    """Names of entries that a text may refer to: of ``@a::b`` both, because ``@##a::b`` counts from another place."""
    references = REFERENCE.findall(text) + ([text] if text.startswith("%") else [])
    return [name for reference in references for name in re.split(r"[@%#:]+", reference) if name]


def _check_value(value: Any, place: str, folder: Path, growth: Growth) -> None:
    if isinstance(value, Mapping):
        if "_target_" in value:
            reason = _forbidden_target(value)
            if reason is not None:
                raise _refusal(folder, place, reason)
        for key, inner in value.items():
            _check_value(inner, f"{place}::{key}", folder, growth)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _check_value(inner, f"{place}::{index}", folder, growth)
    elif isinstance(value, str) and value.startswith("$") and not is_import(value[1:]):
        found = forbidden_part(value[1:])
        if found is not None:
            raise _refusal(folder, place, f"runs {found}")
        found = growth.outgrown(value[1:], place)
        if found is not None:
            raise _refusal(folder, place, f"makes more than {MOST_VALUES} values, or endless numbers, by {found}")


def _forbidden_target(entry: Mapping[str, Any]) -> str | None:
    """Why a ``_target_`` may not be built; None where it may."""
    target = entry["_target_"]
    if not isinstance(target, str) or target[:1] in "$@%":
        return f"builds {target!r}, which is only known when it runs"
    if str(entry.get("_mode_", "default")) not in ("default", "callable", "partial"):
        return f"builds {target} in mode {entry['_mode_']!r}"
    if DEBUGGER in entry:
        return f"builds {target} in the debugger"
    address = next((text for _, text in _texts(entry, "") if "://" in text), None)
    if address is not None:
        return f"fetches {address}"
    found = class_of(target)
    if found is None or not issubclass(found, KINDS) or REFUSED_CLASSES & {target.rpartition(".")[2], found.__name__}:
        return f"builds {target}"
    fetched = _fetched(entry, found)
    return f"fetches weights for {target} ({fetched})" if fetched else None


def _fetched(entry: Mapping[str, Any], built: type) -> str | None:
    """The argument by which a class would fetch weights, given or by default; None where there is none."""
    defaults = {name: parameter.default for name, parameter in inspect.signature(built).parameters.items()}
    values = {name: entry.get(name, default) for name, default in {**dict.fromkeys(entry), **defaults}.items()}
    fetching = (name for name in values if PRETRAINED in name or FETCHING.get(built.__name__) == name)
    asked = (name for name in fetching if not (values[name] is None or values[name] is False))
    return next((name for name in asked if values[name] is not inspect.Parameter.empty), None)


def class_of(target: str) -> type | None:
    """The class a ``_target_`` stands for, as MONAI finds it; None where it is none, or not in a known package."""
    module, _, name = target.rpartition(".")
    if not module:
        modules = ComponentLocator(excludes=[]).get_component_module_name(name)
        module = modules if isinstance(modules, str) else next(iter(modules or []), "")  # MONAI takes the first, too
    if not f"{module}.".startswith(PACKAGES):
        return None
    try:
        found = getattr(import_module(module), name, None)
    except ImportError:
        return None
    if not inspect.isclass(found) or not f"{found.__module__}.".startswith(PACKAGES):
        return None
    return found


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Every text in a nested value, with where it stands."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, f"{place}::{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _texts(inner, f"{place}::{index}")
    elif isinstance(value, str):
        yield place, value


def _refusal(folder: Path, place: str, reason: str) -> TrustError:
    what = " ".join(f"{reason} (at {place})".split())
    return TrustError(
        f"bundle {folder.name} {what}, which medseg does not let an unknown bundle do. "
        f"Read its configuration; to trust it as it is now, add --trust {bundle_digest(folder)}"
    )
