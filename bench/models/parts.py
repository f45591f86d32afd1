"""Where pylstm's time goes, by Python's own profiler: a call of the core counts under what it does, everything else
under the file that asked for it, whatever way the layers of a model are put together.

The profiler slows down Python itself, which the part "python" shows; compare `total` with the time without it.
"""

from __future__ import annotations

import cProfile
import pstats
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

Site = tuple[str, int, str]  # file, line, function; of what is not Python "~", 0, a description

# Parts in the order of a step. The rest is "python". All linear layers of a translator count as its head.
PARTS = [
    "batches", "embedding", "recurrent forward", "recurrent backward", "attention", "head", "loss", "optimizer",
    "python",
]  # fmt: skip
CORE = {  # of calls of the core, by the first name that theirs begins with
    "linear_cross_entropy": "loss",
    "linear": "head",
    "infer": "recurrent forward",
    "train": "recurrent forward",
    "backward": "recurrent backward",
    "adam": "optimizer",
    "sum_rows": "embedding",
}
OF_CORE = re.compile(r"method pylstm\._core\.(\w+)|method '(\w+)' of 'pylstm\._core\.")
FILES = {  # of everything else, by what the file's path within pylstm begins with
    "training/data": "batches",
    "models/sequence_pairs": "batches",
    "training/optimizer": "optimizer",
    "training/gradients": "optimizer",
    "layers/embedding": "embedding",
    "layers/row_gradient": "embedding",
    "layers/attention": "attention",
    "layers/linear": "head",
    "losses": "loss",
    "layers/recurrent": "recurrent forward",
    "layers/compiled": "recurrent forward",
}


def measure(run: Callable[[], Any]) -> dict[str, float]:
    """Seconds of one run by part, and "total"."""
    profiler = cProfile.Profile()
    profiler.runcall(run)
    return by_part(pstats.Stats(profiler).stats)  # type: ignore[attr-defined]


def by_part(stats: dict[Site, Any]) -> dict[str, float]:
    """stats: as `pstats` has them, site -> (.., .., own seconds, .., callers)."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for site, (_, _, own, _, callers) in stats.items():
        for part, share in shares(site, callers, stats, 0).items():
            seconds[part] += own * share
    return {part: seconds[part] for part in PARTS} | {"total": sum(seconds.values())}


def shares(site: Site, callers: dict[Site, Any], stats: dict[Site, Any], depth: int) -> dict[str, float]:
    """The parts that a function's own time belongs to. What NumPy does belongs to whom it does it for."""
    if part := part_of(site):
        return {part: 1.0}
    whole = sum(times[2] for times in callers.values())
    if depth > 8 or not whole or is_ours(site):
        return {"python": 1.0}
    found: defaultdict[str, float] = defaultdict(float)
    for caller, times in callers.items():
        for part, share in shares(caller, stats[caller][4], stats, depth + 1).items():
            found[part] += share * times[2] / whole
    return found


def is_ours(site: Site) -> bool:
    """Products outside of the recurrence belong to whom they are made for."""
    return "/pylstm/" in site[0] and not site[0].endswith("/_products.py")


def part_of(site: Site) -> str:
    """Of a function of the core or a file that is known; else empty."""
    file, _, name = site
    if called := OF_CORE.search(name):
        function = called[1] or called[2]
        return next((part for start, part in CORE.items() if function.startswith(start)), "")
    if not is_ours(site):
        return ""
    within = Path(file.split("/pylstm/")[-1]).with_suffix("").as_posix()
    return next((part for start, part in FILES.items() if within.startswith(start)), "")
