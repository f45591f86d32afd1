"""Threads and machine: how many cores this process may use, and what the build and the machine offer."""

from __future__ import annotations

import os
from pathlib import Path

from . import _checks, _core


def set_num_threads(n: int) -> None:
    """Use up to n threads from now on, in calls that do not say otherwise. Tiny work stays on the caller's thread, and
    so does all of it for a while where other programs have the cores, and n threads would wait for each other.

    Raises TypeError or ValueError if n is no whole number from 1.
    """
    _core.set_num_threads(_checks.threads("n", n))


def get_num_threads() -> int:
    """The number of threads a call may use: as set, but no more than a limit put on OpenMP (threadpoolctl)."""
    return _core.get_num_threads()


def release_memory() -> None:
    """Give memory that is kept for the next calls back to the system (256 MiB of freed arrays at most)."""
    _core.release_memory()


def show_config() -> None:
    """Print version, build, OpenMP, threads, and the instruction sets available and in use."""
    print(f"pylstm {_core.version}, built with {_core.compiler}")
    now = " (1 at the moment: others have the cores)" if _core.threads_now() < get_num_threads() else ""
    print(f"OpenMP: {'yes' if _core.has_openmp else 'no'}, threads: {get_num_threads()}{now}")
    print(f"ISA: {_core.isa()} (available: {', '.join(_core.available_isas())}; PYLSTM_ISA forces one)")


def _default_threads() -> int:
    for variable in ("PYLSTM_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(variable, "").split(",")[0].strip()  # OMP_NUM_THREADS may be a list, one per level
        if not text:
            continue
        if text.isdecimal() and int(text) > 0:
            return min(int(text), _checks.MOST_THREADS)
        if variable == "PYLSTM_NUM_THREADS":
            raise ValueError(f"environment variable {variable}: expected a whole number from 1, got {text!r}")
    return _usable_cores()


def _usable_cores() -> int:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _cgroup_quota(cores)))


def _cgroup_quota(default: int) -> int:
    """Cores a container may use (cgroup v2 cpu.max, v1 cfs quota), rounded up."""
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            text = " ".join((Path("/sys/fs/cgroup") / file).read_text(encoding="ascii") for file in files)
            quota, period = (int(word) for word in text.split())
        except (OSError, ValueError):  # no such cgroup, or "max": no quota
            continue
        if quota > 0 and period > 0:
            return -(-quota // period)
    return default


_core.isa()  # reads PYLSTM_ISA: a wrong value is an error at import, not at the first call
_core.set_num_threads(_default_threads())
