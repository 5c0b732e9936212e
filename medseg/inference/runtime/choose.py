"""Which runtime computes the windows: the one asked for, or the best that is installed and worth compiling for.

In: a torch network, its inferer, and the size of a volume. Out: the network or a compiled one, and the reason.
"""

import importlib.util
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Final, Literal, TypeAlias, get_args

import torch
from monai.inferers import Inferer, SliceInferer, SlidingWindowInferer
from torch import nn

from medseg.errors import SettingsError
from medseg.inference.memory import keep_only_for_torch
from medseg.inference.mirror import MirrorInferer
from medseg.inference.runtime.apart import NotCompiledError
from medseg.inference.runtime.compiled import Compiled, CompiledNetwork
from medseg.inference.runtime.half import in_half_precision
from medseg.inference.runtime.kept_proof import (
    keep_refusal,
    kept_files,
    kept_proof,
    kept_refusal,
    proof_path,
    refusal_path,
    seal_of,
)
from medseg.inference.runtime.onnx import OPSET, compile_onnx
from medseg.inference.runtime.openvino import REVISION, compile_openvino
from medseg.inference.runtime.proof import Golden, Proof, RuntimeChoice, prove
from medseg.inference.runtime.shelf import Shelf
from medseg.inference.slices import SliceBySliceInferer
from medseg.inference.three_planes import ThreePlaneInferer

__all__ = [
    "RUNTIMES",
    "RuntimeName",
    "WindowRuntime",
    "batch_shape",
    "check_runtime",
    "installed_runtimes",
    "runtime_cache",
]

RuntimeName: TypeAlias = Literal["auto", "torch", "openvino", "onnx"]

RUNTIMES: Final[tuple[str, ...]] = get_args(RuntimeName)

COMPILERS: Final[dict[str, Callable[..., Compiled]]] = {
    "openvino": compile_openvino,
    "onnx": compile_onnx,
}

PACKAGES: Final = {"openvino": ("openvino",), "onnx": ("onnxruntime", "onnxscript")}

KEPT_AS: Final = {"openvino": "ov", "onnx": "opset"}
"""How the names of a runtime's converted files go on after the network's key and its window."""

REVISIONS: Final = {"openvino": REVISION, "onnx": OPSET}

COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
"""What a compiler colours its messages with on a terminal."""

NOT_KEPT: Final = "the cache folder cannot be used, so that every start compiles anew"

INSTALL: Final = {
    "openvino": "pip install 'medseg[openvino]'",
    "onnx": "pip install onnxruntime onnxscript",
}

WORTH_COMPILING: Final = 4_000_000
"""Voxels in windows from which ``auto`` compiles: 16 windows of 64³. A conversion takes 3 to 15 s, once."""


def installed_runtimes() -> tuple[str, ...]:
    """The runtimes that can be used here, ``torch`` first."""
    compiled = [name for name, packages in PACKAGES.items() if all(map(importlib.util.find_spec, packages))]
    return ("torch", *compiled)


def runtime_cache() -> Path:
    """Where converted networks are kept: ``MEDSEG_CACHE``, else ``medseg`` in the user's cache folder."""
    given = os.environ.get("MEDSEG_CACHE")
    root = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medseg"
    return root / "runtime"


def check_runtime(name: str, *, device: torch.device) -> None:
    """Nothing, if the runtime may be asked for on this device.

    Raises:
        SettingsError: its name is unknown, it is not installed, or it does not compute there.
    """
    if name not in RUNTIMES:
        raise SettingsError(f"runtime {name!r} is unknown: expected one of {', '.join(RUNTIMES)}.")
    if name in COMPILERS and name not in installed_runtimes():
        raise SettingsError(f"runtime {name} is not installed: {INSTALL[name]}, or use --runtime auto.")
    if name in COMPILERS and device.type != "cpu":
        raise SettingsError(f"runtime {name} computes on the CPU, not on {device}: add --device cpu, or use torch.")


@dataclass(frozen=True, eq=False)
class _Tried:
    """What came of one try: a network that may be used, or why there is none."""

    network: nn.Module | None = None
    proof: Proof | None = None
    reason: str = ""
    note: str = ""
    is_lasting: bool = False
    is_of_the_disk: bool = False


class WindowRuntime:
    """A network with the runtime that computes it, chosen when the first volume comes.

    Args:
        network: the torch module, in evaluation mode on ``device``.
        name: ``auto``, or the runtime asked for.
        key: names the network and its weights, for the cache of converted networks.
        fetch: loads the network's weights anew; with it they are put away while a compiled network computes.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str = "auto",
        key: str = "",
        device: torch.device,
        cache: Path | None = None,
        fetch: Callable[[], object] | None = None,
    ) -> None:
        check_runtime(name, device=device)
        self._shelf = Shelf(network, fetch)
        self._lock = Lock()  # of two volumes at once, one must not put away what the other computes with
        self._name = name
        self._key = key
        self._device = device
        self._cache = cache
        self._scratch: TemporaryDirectory[str] | None = None
        self._compiled: dict[tuple[int, ...], tuple[nn.Module, RuntimeChoice]] = {}
        self.choice = RuntimeChoice("torch", "nothing was computed yet")
        """The runtime of the last volume."""

    def network_for(self, inferer: Inferer, sizes: Sequence[int], *, n_windows: int | None) -> nn.Module:
        """The network that computes a preprocessed volume of these sizes (C, I, J, K).

        Raises:
            SettingsError: the runtime that was asked for cannot compute this network, or not as torch does.
        """
        with self._lock:
            network, self.choice = self._choose(inferer, sizes, n_windows=n_windows)
            is_compiled = isinstance(network, CompiledNetwork)
            if is_compiled:
                self._shelf.put_away()
            keep_only_for_torch(computes=not is_compiled)
        return network

    def rest(self) -> None:
        """Give back what only windows need, pages of compiled files; the next windows read them anew."""
        for network, _ in self._compiled.values():
            if isinstance(network, CompiledNetwork):
                network.rest()

    def _choose(
        self, inferer: Inferer, sizes: Sequence[int], *, n_windows: int | None
    ) -> tuple[nn.Module, RuntimeChoice]:
        if self._name == "torch":
            return self._shelf.take(), RuntimeChoice("torch", "asked for")
        shape = batch_shape(inferer, sizes[0])
        if shape is None or n_windows is None:
            if self._name != "auto":
                raise SettingsError(
                    f"--runtime {self._name} needs windows of one size, and this bundle's {type(inferer).__name__} "
                    "does not say theirs: use --runtime torch."
                )
            return self._shelf.take(), RuntimeChoice("torch", "the bundle's windows are of no fixed size")
        if self._name == "auto":
            reason = self._reason_for_torch(n_windows * prod(shape[2:]))
            if reason:
                return self._shelf.take(), RuntimeChoice("torch", reason, is_news=reason.startswith("OpenVINO is not"))
        if shape not in self._compiled:
            if self._device.type != "cpu":
                self._compiled[shape] = in_half_precision(
                    self._shelf.take(), shape, device=self._device, key=self._key, cache=self._folder
                )
            else:
                self._compiled[shape] = self._compile("openvino" if self._name == "auto" else self._name, shape)
        return self._compiled[shape]

    def _reason_for_torch(self, n_voxels: int) -> str:
        """Why ``auto`` takes torch as it is; nothing where OpenVINO or, on a GPU, half precision is better."""
        if self._device.type != "cpu":
            return ""
        if "openvino" not in installed_runtimes():
            return f"OpenVINO is not installed, which is faster on CPUs: {INSTALL['openvino']}"
        if n_voxels < WORTH_COMPILING:
            return "few windows: compiling would take longer than computing"
        return ""

    def _compile(self, name: str, shape: tuple[int, ...]) -> tuple[nn.Module, RuntimeChoice]:
        """The compiled network, or torch and why; what would fail again is not tried again, unless it is asked for."""
        refusal = self._refusal_path(name, shape)
        reason = kept_refusal(refusal) if refusal and self._name == "auto" else ""
        proof: Proof | None = None
        if reason:
            reason += f"; it is tried again with --runtime {name}"
        else:
            tried = self._tried(name, shape)
            proof, reason = tried.proof, tried.reason
            if tried.network is not None:
                if refusal:
                    with suppress(OSError):
                        refusal.unlink(missing_ok=True)
                asked = "asked for" if self._name != "auto" else "the fastest that is installed for this CPU"
                told = "; ".join(part for part in (asked, tried.note, NOT_KEPT if self._scratch else "") if part)
                return tried.network, RuntimeChoice(name, told, proof, is_news=True)
            if refusal and tried.is_lasting:
                keep_refusal(refusal, reason)
        if self._name != "auto":
            raise SettingsError(f"runtime {name} cannot be used for this network ({reason}): use --runtime torch.")
        return self._shelf.take(), RuntimeChoice("torch", f"{name} was refused: {reason}", proof, is_news=True)

    def _tried(self, name: str, shape: tuple[int, ...]) -> _Tried:
        """The compiled network; what is damaged in the cache is made anew, and beside it where it cannot be used."""
        kept = self._kept(name, shape)
        tried = self._attempt(name, shape)
        if tried.reason and kept:
            for path in kept:
                with suppress(OSError):
                    path.unlink()
            tried = self._attempt(name, shape)
        if tried.is_of_the_disk:
            self._scratch = TemporaryDirectory(prefix="medseg-")
            tried = self._attempt(name, shape)
        return tried

    def _attempt(self, name: str, shape: tuple[int, ...]) -> _Tried:
        if self._kept(name, shape):  # loaded, it has its own weights: both at once would be the run's fullest moment
            self._shelf.put_away()
            keep_only_for_torch(computes=False)
        golden = Golden(self._shelf.look_at, shape, put_away=self._shelf.put_away)
        try:
            compiled = COMPILERS[name](golden, key=self._key, cache=self._folder)
            proof = self._proved(compiled, golden, name)
        except NotCompiledError as error:
            return _Tried(reason=str(error), is_lasting=error.is_lasting)
        except Exception as error:  # noqa: BLE001  a compiler refuses a network in many ways
            plain = COLOURS.sub("", str(error))
            reason = f"{type(error).__name__}: {' '.join(plain.split()[:30])}"
            return _Tried(reason=reason, is_of_the_disk=isinstance(error, OSError))
        if proof.is_passed:
            return _Tried(compiled.network, proof, note=compiled.note)
        failure = (
            f"on a golden window {proof.clear_agreement:.2%} of the clear labels agree with torch, logits differ "
            f"by {proof.max_difference:.2g} at most"
        )
        return _Tried(None, proof, failure, is_lasting=True)

    @property
    def _folder(self) -> Path:
        """Where converted networks are kept: the cache, or a folder of this process where that cannot be used."""
        return Path(self._scratch.name) if self._scratch else self._cache or runtime_cache()

    def _kept(self, name: str, shape: tuple[int, ...]) -> list[Path]:
        with suppress(OSError):
            return kept_files(self._folder, key=self._key, shape=shape, mark=KEPT_AS[name])
        return []

    def _proved(self, compiled: Compiled, golden: Golden, name: str) -> Proof:
        precision = compiled.precision

        def new() -> Proof:
            return compiled.proof or prove(compiled.network, golden, precision=precision)

        if not self._key:  # nothing says that it is the same network as last time
            return new()
        cache, package = self._folder, PACKAGES[name][0]
        path = proof_path(cache, key=self._key, runtime=name, package=package, precision=precision, shape=golden.shape)
        return kept_proof(path, new, seal=seal_of(self._kept(name, golden.shape), cache=cache))

    def _refusal_path(self, name: str, shape: tuple[int, ...]) -> Path | None:
        if not self._key or name not in installed_runtimes():
            return None
        runtime = f"{name}{REVISIONS[name]}"
        return refusal_path(self._folder, key=self._key, runtime=runtime, package=PACKAGES[name][0], shape=shape)


def batch_shape(inferer: Inferer, n_channels: int) -> tuple[int, ...] | None:
    """What a compiled network computes together (B, C, *S); None where windows are not of one size."""
    if isinstance(inferer, MirrorInferer | ThreePlaneInferer):
        return batch_shape(inferer.inferer, n_channels)
    if isinstance(inferer, SliceBySliceInferer):
        return (inferer.batch_size, n_channels * (2 * inferer.context + 1), *inferer.roi_size)
    if not isinstance(inferer, SlidingWindowInferer) or isinstance(inferer, SliceInferer):
        return None
    window = [inferer.roi_size] * 3 if isinstance(inferer.roi_size, int) else list(inferer.roi_size)
    if any(size is None or size <= 0 for size in window):
        return None
    return (1, n_channels, *window)  # windows one by one: on a CPU a batch is no faster
