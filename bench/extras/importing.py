"""What `import pylstm` adds to `import numpy`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from statistics import median

from extras import Finding, Options

MOST = 20.0  # ms
# -I: without it, `python -c` would import the source folder, which has no compiled core.
COMMAND = [sys.executable, "-I", "-c"]
SCRIPT = """
import numpy, time
start = time.perf_counter()
import pylstm
print(time.perf_counter() - start)
"""


def run(options: Options) -> Iterator[Finding]:
    def once() -> float:
        return float(subprocess.run([*COMMAND, SCRIPT], stdout=subprocess.PIPE, text=True, check=True).stdout)

    once()  # from the disk
    yield Finding("import pylstm after import numpy", median(once() for _ in range(options.repeats)) * 1e3, MOST, "ms")
