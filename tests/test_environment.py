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
