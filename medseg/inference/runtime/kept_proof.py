"""Proofs that are kept: a compiled network proves itself when it is first used on a machine, and not at every start.

A window through torch takes as long as several through the compiled network: on a volume of 16 windows, a fifth of
the time.
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

__all__ = ["kept_proof", "proof_path"]


def proof_path(cache: Path, *, key: str, runtime: str, package: str, precision: str, shape: tuple[int, ...]) -> Path:
    """Where the proof of one network, window, runtime and precision on this machine is kept.

    Args:
        key: names the network and its weights.
        package: what must be of the same version for a proof to hold.
    """
    versions = [torch.__version__, importlib.metadata.version(package), torch.backends.cpu.get_cpu_capability()]
    here = hashlib.sha256(json.dumps([*map(str, versions), platform.machine(), platform.node()]).encode()).hexdigest()
    return cache / f"{key}_{'x'.join(map(str, shape))}_{runtime}_{precision}_{here[:12]}.proof.json"


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
