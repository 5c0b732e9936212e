"""What is kept of a runtime's first use with a network on a machine, so that the next start need not try again.

A proof: a window through torch takes as long as several through the compiled network, on a volume of 16 windows a
fifth of the time. Or a refusal: a compiler that crashes, or ends in a wrong network, does so after half a minute.
"""

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from medseg.atomic import atomic_write
from medseg.inference.runtime.proof import Proof

__all__ = ["keep_refusal", "kept_proof", "kept_refusal", "proof_path", "refusal_path", "this_machine"]


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


def kept_proof(path: Path, prove: Callable[[], Proof]) -> Proof:
    """The proof that lies at ``path``; where there is none that can be read, a new one, kept if it is passed."""
    try:
        kept = Proof(**json.loads(path.read_text(encoding="utf-8")))
        if kept.is_passed:
            return kept
    except (OSError, ValueError, TypeError, KeyError):
        pass  # none yet, or of another version of this program
    proof = prove()
    if proof.is_passed:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, overwrite=True) as temporary:
            temporary.write_text(json.dumps(asdict(proof)), encoding="utf-8")
    return proof


def kept_refusal(path: Path) -> str:
    """The reason that lies at ``path``; nothing where there is none that can be read."""
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["reason"])
    except (OSError, ValueError, TypeError, KeyError):
        return ""


def keep_refusal(path: Path, reason: str) -> None:
    """Write a reason for the next start."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps({"reason": reason}), encoding="utf-8")
