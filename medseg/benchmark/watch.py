"""A small process that starts a command and reports what it took; run as a script, with the standard library alone.

Linux counts the memory of whoever starts a process as its own at its birth: hundreds of MB, if that is a process with
torch in it.

    python watch.py REPORT COMMAND...
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

KIB = 1024

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: None)  # sent to the command as well, whose end is waited for
    began = time.perf_counter()
    process = subprocess.Popen(sys.argv[2:])
    _, status, usage = os.wait4(process.pid, 0)
    report = {
        "exit_code": os.waitstatus_to_exitcode(status),
        "seconds": time.perf_counter() - began,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss * (1 if sys.platform == "darwin" else KIB) / 1e6,  # macOS counts bytes
    }
    Path(sys.argv[1]).write_text(json.dumps(report), encoding="utf-8")
