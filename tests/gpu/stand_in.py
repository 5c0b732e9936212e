"""A GPU for machines without one (``stand_in.cpp``): ``python stand_in.py LIBRARY MODULE WORDS…`` runs a module on it.

``STAND_IN_LIMIT`` is its memory in bytes.
"""

import atexit
import ctypes
import os
import runpy
import sys
import traceback
from types import SimpleNamespace

TOTAL_BYTES = 8 * 10**9


def put_in(library: str) -> ctypes.CDLL:
    """Load the library, torch after it, and let ``torch.cuda`` say that there is a device."""
    assert "torch" not in sys.modules, "torch asks for its devices when it is loaded"
    device = ctypes.CDLL(library, mode=ctypes.RTLD_GLOBAL)
    for name in ("stand_in_used", "stand_in_peak"):
        getattr(device, name).restype = ctypes.c_int64
    device.stand_in_limit.argtypes = [ctypes.c_int64]
    import torch

    device.stand_in_begin()
    device.stand_in_limit(int(os.environ.get("STAND_IN_LIMIT", TOTAL_BYTES)))
    facts = SimpleNamespace(name="stand-in", total_memory=TOTAL_BYTES, major=8, minor=0, multi_processor_count=1)
    said = {
        "_lazy_init": None,
        "is_available": True,
        "is_initialized": True,
        "device_count": 1,
        "current_device": 0,
        "is_bf16_supported": True,
        "get_device_properties": facts,
        "get_device_name": facts.name,
        "synchronize": None,
        "empty_cache": None,
        "set_device": None,
        "manual_seed_all": None,
        "set_rng_state": None,
    }
    for name, answer in said.items():
        setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
    torch.cuda.get_rng_state = lambda *_: torch.get_rng_state()
    torch.cuda.reset_peak_memory_stats = lambda *_: device.stand_in_reset_peak()
    for name in ("max_memory_allocated", "max_memory_reserved"):
        setattr(torch.cuda, name, lambda *_: device.stand_in_peak())
    for name in ("memory_allocated", "memory_reserved"):
        setattr(torch.cuda, name, lambda *_: device.stand_in_used())
    torch.cuda.mem_get_info = lambda *_: (TOTAL_BYTES - device.stand_in_used(), TOTAL_BYTES)
    return device


if __name__ == "__main__":
    put_in(sys.argv[1])
    sys.argv = sys.argv[2:]
    code: object = 0
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001  the process ends here, whatever it was
        traceback.print_exc()
        code = 1
    # Not by the usual way: torch would wait at its end for the threads of a device that this build knows nothing of.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))
