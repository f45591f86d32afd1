"""What the process around the library may be like: interpreter options, locales, limits, sub-interpreters."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import pylstm

JOB = """
import numpy as np, pylstm
layer = pylstm.LSTM(8, 32, num_layers=2, seed=0)
x = np.random.default_rng(0).standard_normal((9, 4, 8)).astype(np.float32)
output, _, backward = layer.forward(x)
grads = backward(output)
pylstm.Adam().step(layer, grads.params)
import zlib
print(zlib.crc32(output.tobytes() + grads.x.tobytes() + layer.params["weight_hh_l1"].tobytes()))
"""


def run(script, *options, expect=0, **environment):
    """What a fresh interpreter printed, which sees the installed package alone."""
    done = subprocess.run(
        [sys.executable, *options, "-c", script],
        env={**os.environ, **environment},
        cwd=os.path.dirname(sys.executable),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == expect, done.stderr
    return done.stdout if expect == 0 else done.stderr


@pytest.fixture(scope="module")
def want():
    return run(JOB)


@pytest.mark.parametrize(
    "options", [["-OO"], ["-I"], ["-X", "dev", "-W", "error"], ["-X", "utf8=0"], ["-s", "-E"]], ids=" ".join
)
def test_interpreter_options(want, options):
    assert run(JOB, *options) == want


def test_development_mode(want):
    assert run(JOB, PYTHONDEVMODE="1", PYTHONMALLOC="debug") == want


@pytest.mark.parametrize(
    ("variable", "value"), [("PYLSTM_ISA", "sse9"), ("PYLSTM_NUM_THREADS", "many"), ("PYLSTM_NUM_THREADS", "0")]
)
def test_variables_with_nonsense_are_errors(variable, value):
    message = run("import pylstm", expect=1, **{variable: value})
    assert f"ValueError: environment variable {variable}: expected" in message
    assert repr(value) in message


@pytest.mark.skipif("baseline" not in pylstm._core.available_isas(), reason="not this machine's baseline")
def test_without_avx():
    """The baseline computes too; its bits may differ, since it has no fused multiply-add."""
    assert run(JOB + "print(pylstm._core.isa())", PYLSTM_ISA="baseline").endswith("\nbaseline\n")


def test_a_decimal_comma_changes_nothing(want):
    script = """
import locale
for name in ("de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"):
    try:
        locale.setlocale(locale.LC_ALL, name)
    except locale.Error:
        continue
    assert locale.localeconv()["decimal_point"] == ","
    break
else:
    raise SystemExit(3)
"""
    if not_there := subprocess.run([sys.executable, "-c", script], check=False).returncode:
        assert not_there == 3
        pytest.skip("no locale with a decimal comma is installed")
    assert run(script + JOB) == want
    assert "dropout=0.5" in run(script + "import pylstm; print(repr(pylstm.LSTM(2, 3, 2, dropout=0.5)))")


def test_no_home_is_needed(want, tmp_path):
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    assert run(JOB, HOME=str(home), TMPDIR=str(home), XDG_CACHE_HOME=str(home)) == want


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sub-interpreters with a GIL of their own are new in 3.12")
def test_sub_interpreters_are_refused():
    """By the core itself: not only by NumPy, which refuses them, too."""
    inside = f"""
import importlib.machinery, importlib.util
loader = importlib.machinery.ExtensionFileLoader("_core", {pylstm._core.__file__!r})
try:
    importlib.util.module_from_spec(importlib.util.spec_from_loader("_core", loader))
except ImportError as error:
    print("refused:", error)
"""
    script = f"""
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
execute = getattr(interpreters, "exec", None) or interpreters.run_string
execute(interpreters.create(), {inside!r})
"""
    assert run(script).startswith("refused: ")


@pytest.mark.skipif("PYLSTM_CHECKER" in os.environ, reason="a sanitizer's own allocator ends the process")
@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS as Linux has it")
@pytest.mark.parametrize("work", ["layer(x)", "layer.forward(x)", "backward(small)", "layer.stream(10**9)"])
def test_running_out_of_memory_is_a_memory_error(work):
    """Never an abort; what was computed before stays right, and smaller work still runs."""
    room = 4 << 20 if "backward" in work else 200 << 20
    script = f"""
import resource, numpy as np, pylstm
layer = pylstm.LSTM(4, 256, seed=0)
first = np.ones((10, 8, 4), np.float32)
small, _, _ = layer.forward(first)
x = np.broadcast_to(np.float32(1), (400_000, 64, 4))
if {"backward" in work}:  # what it reads is there; what it makes will not be
    small, _, backward = layer.forward(np.broadcast_to(np.float32(1), (40_000, 8, 4)))
pylstm.release_memory()
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {room}, resource.RLIM_INFINITY))
for _ in range(3):
    try:
        {work}
    except MemoryError:
        continue
    raise SystemExit("there was memory")
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
assert np.array_equal(layer(first)[0], pylstm.LSTM(4, 256, seed=0)(first)[0])
print("fine")
"""
    assert run(script, PYLSTM_NUM_THREADS="2") == "fine\n"


LIMITS = {
    "address space": "resource.setrlimit(resource.RLIMIT_AS, (used() + (9 << 20),) * 2)",
    "processes": "os.setuid(65534); resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))",
}
LIMITED = """
import os, resource, numpy as np, pylstm
import numpy.ma  # while its files may be read
def used():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
layer = pylstm.LSTM(16, 64, seed=0)
x = np.random.default_rng(0).standard_normal((20, 32, 16)).astype(np.float32)
def train():
    output, _, backward = layer.forward(x, num_threads=8)
    return output.tobytes() + backward(output).x.tobytes()
pylstm._core.force_plan((1, 1, 1))
want = train()
pylstm._core.force_plan((8, 1, 1))
{limit}
try:
    assert train() == want
    print("right")
except MemoryError:
    print("told")
"""


@pytest.mark.skipif("PYLSTM_CHECKER" in os.environ, reason="a sanitizer's own threads and memory")
@pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
@pytest.mark.parametrize("limit", LIMITS)
def test_threads_that_cannot_be_started(limit):
    """The threads there are do the work, or there is an error: the process goes on."""
    if limit == "processes" and os.getuid() != 0:
        pytest.skip("must become another user, who has no processes")
    assert run(LIMITED.format(limit=LIMITS[limit]), OPENBLAS_NUM_THREADS="1") in ("right\n", "told\n")


@pytest.mark.skipif("PYLSTM_CHECKER" in os.environ, reason="a sanitizer's own threads and memory")
@pytest.mark.skipif(sys.platform != "linux", reason="limits as Linux has them")
def test_a_default_stack_that_no_machine_has():
    """Threads get a stack of a size of their own, not that of the main thread's limit."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if hard != resource.RLIM_INFINITY:
        pytest.skip("the limit cannot be raised")
    resource.setrlimit(resource.RLIMIT_STACK, (1 << 46, hard))  # of the interpreter that is started now
    try:
        assert run(LIMITED.format(limit=""), OPENBLAS_NUM_THREADS="1") == "right\n"
    finally:
        resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("call", ["layer(x, num_threads={n})", "backward(output, None)"])
def test_a_daemon_thread_in_a_call_at_the_end_of_the_program(call, threads):
    """It asks for the GIL while the interpreter goes: the process ends as if it were not there."""
    script = f"""
import threading, time, numpy as np, pylstm
pylstm.set_num_threads({threads})
layer = pylstm.LSTM(64, 128, 2, seed=0)
x = np.zeros((100, 8, 64), np.float32)
output, _, backward = layer.forward(x)
def work():
    while True:
        {call.format(n=threads)}
for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.1)
print("over")
"""
    for _ in range(4):
        assert run(script) == "over\n"
