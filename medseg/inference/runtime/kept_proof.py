"""What is kept of a runtime's first use with a network on a machine, so that the next start need not try again.

A proof: a window through torch takes as long as several through the compiled network, on a volume of 16 windows a
fifth of the time. Or a refusal: a compiler that crashes, or ends in a wrong network, does so after half a minute.
"""

import glob
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch

from medseg.atomic import atomic_write
from medseg.errors import OutputError
from medseg.inference.runtime.checksum import crc32_of
from medseg.inference.runtime.proof import Proof

__all__ = [
    "keep_refusal",
    "kept_files",
    "kept_proof",
    "kept_refusal",
    "proof_path",
    "refusal_path",
    "seal_of",
    "this_machine",
]

KNOWN_BY_SIZE = (".bin", ".blob")


def proof_path(cache: Path, *, key: str, runtime: str, package: str, precision: str, shape: tuple[int, ...]) -> Path:
    """Where the proof of one network, window, runtime and precision on this machine is kept.

    Args:
        key: names the network and its weights.
        package: what must be of the same version for a proof to hold.
    """
    return cache / f"{key}_{'x'.join(map(str, shape))}_{runtime}_{precision}_{this_machine(package)}.proof.json"


def refusal_path(cache: Path, *, key: str, runtime: str, package: str, shape: tuple[int, ...]) -> Path:
    """Where it is kept why a runtime does not compute one network and window on this machine.

    Args:
        runtime: its name, and the revision of our way to use it.
    """
    return cache / f"{key}_{'x'.join(map(str, shape))}_{runtime}_{this_machine(package)}.refused.json"


def this_machine(package: str) -> str:
    """A name for this machine with the versions of torch and of a package, the same while all of them are."""
    versions = [torch.__version__, importlib.metadata.version(package), torch.backends.cpu.get_cpu_capability()]
    here = hashlib.sha256(json.dumps([*map(str, versions), platform.machine(), platform.node()]).encode())
    return here.hexdigest()[:12]


def kept_files(cache: Path, *, key: str, shape: tuple[int, ...], mark: str) -> list[Path]:
    """What a runtime keeps of one network and window, proofs and refusals aside.

    Args:
        mark: how the names of the runtime's files go on after the key and the window.
    """
    window = "x".join(map(str, shape))
    pattern = glob.escape(f"{key}_{window}_{mark}") + "*"
    tops = [*cache.glob(pattern), *(cache / "compiled").glob(pattern)]
    files = [path for top in tops for path in (top.rglob("*") if top.is_dir() else (top,)) if path.is_file()]
    return sorted(path for path in files if path.suffix != ".json")


def seal_of(files: Sequence[Path], *, cache: Path) -> str:
    """A name for the files' content, another where a bit of it is another.

    A file that was damaged, or that belongs to another network, would give wrong labels without a word. Weights beside
    a converted network (.bin) are known by their size: they are only compiled from, and what comes of that is new.
    """
    found = [
        (str(path.relative_to(cache)), path.stat().st_size, 0 if path.suffix == ".bin" else crc32_of(path))
        for path in files
    ]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:24]


def kept_proof(path: Path, prove: Callable[[], Proof], *, seal: str) -> Proof:
    """The proof that lies at ``path``; where there is none of these very files, a new one, kept if it is passed.

    Args:
        seal: of the files that the proof is of.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        is_same = content.pop("seal") == seal
        kept = Proof(**content)
        if is_same and kept.is_passed:
            return kept
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        pass  # none yet, or of another version of this program
    proof = prove()
    if proof.is_passed:
        _keep(path, {**asdict(proof), "seal": seal})
    return proof


def kept_refusal(path: Path) -> str:
    """The reason that lies at ``path``; nothing where there is none that can be read."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["reason"])
    except (OSError, ValueError, TypeError, KeyError):
        return ""


def keep_refusal(path: Path, reason: str) -> None:
    """Write a reason for the next start, if that can be."""
    _keep(path, {"reason": reason})


def _keep(path: Path, content: dict[str, object]) -> None:
    with suppress(OSError, OutputError):  # a cache that cannot be written to costs time, and no result
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, overwrite=True) as temporary:
            temporary.write_text(json.dumps(content), encoding="utf-8")
