"""Plants one fault after the other in a copy of the source, and sees whether the tests that watch for it fail.

    python tools/plant_faults.py [names ...]        # needs pybind11, CMake, Ninja and what the tests need

A test that no fault makes fail is worth nothing. docs/promises.md names the fault of each promise; this does what it
says. A fault is a text to replace; one that is no longer found is an error here, so the list stays true. Conditions
turned round and comparisons changed, one after the other, are what `nox -s mutants` tries.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from faults import core, python
from faults.fault import Fault

HUNG = 999
ROOT = Path(__file__).resolve().parent.parent
FAULTS = {**core.FAULTS, **python.FAULTS}


def run(command: list[str], **options) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


class Copy:
    """A copy of the source, a build of it, and a package made of both."""

    def __init__(self, folder: Path) -> None:
        self.source, self.build, self.package = folder / "src", folder / "build", folder / "package"
        ignore = shutil.ignore_patterns(".git", "__pycache__", "*.so", "results")
        shutil.copytree(ROOT, self.source, ignore=ignore)
        hints = [f"-Dpybind11_DIR={run([sys.executable, '-m', 'pybind11', '--cmakedir']).stdout.strip()}"]
        configure = ["cmake", "-S", str(self.source), "-B", str(self.build), "-G", "Ninja", *hints]
        done = run([*configure, f"-DPython_EXECUTABLE={sys.executable}"])
        if done.returncode:
            sys.exit(done.stdout + done.stderr)

    def make(self) -> str:
        """Builds and puts the package together; what the compiler said if it failed."""
        done = run(["ninja", "-C", str(self.build)])
        if done.returncode:
            return done.stdout
        shutil.rmtree(self.package, ignore_errors=True)
        shutil.copytree(self.source / "pylstm", self.package / "pylstm")
        for built in self.build.glob("_core*.so"):
            shutil.copy(built, self.package / "pylstm")
        return ""

    def test(self, arguments: str, patience: int | None = None) -> int:
        """The exit code of pytest: 1 where a test failed, negative or above where the interpreter ended."""
        words = arguments.split()
        files = [str(self.source / "tests" / word) if word.endswith(".py") else word for word in words]
        script = "import sys, pytest; sys.path.remove(''); sys.exit(pytest.main(sys.argv[1:]))"
        options = ["-q", "-x", "-p", "no:cacheprovider", f"--rootdir={self.source}", f"-c={self.source}/pyproject.toml"]
        environment = os.environ | {"PYTHONPATH": str(self.package)}
        command = [sys.executable, "-c", script, *options, *files]
        try:
            return run(command, env=environment, cwd=self.package, timeout=patience).returncode
        except subprocess.TimeoutExpired:
            return HUNG


def plant(copy: Copy, fault: Fault) -> str:
    """ "seen" if the tests fail with the fault; else what is wrong."""
    path = copy.source / fault.file
    text = path.read_text(encoding="utf-8")
    if text.count(fault.old) != 1:
        return f"{fault.file} holds the text to replace {text.count(fault.old)} times"
    path.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
    try:
        if said := copy.make():
            return f"does not compile:\n{said}"
        code = copy.test(fault.tests, fault.patience)
    finally:
        path.write_text(text, encoding="utf-8")
    return {0: "NOT SEEN", 1: "seen", HUNG: "seen (it hangs)"}.get(
        code, f"seen (the interpreter ended with {code})" if code not in (4, 5) else "no test ran"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="parts of the faults' names; none: all of them")
    args = parser.parse_args()
    chosen = {n: f for n, f in FAULTS.items() if not args.names or any(part in n for part in args.names)}
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Copy(Path(folder))
        for name, fault in chosen.items():
            began = time.monotonic()
            found = plant(copy, fault)
            wrong += not found.startswith("seen")
            print(f"{name:<58} {found} by {fault.tests} ({time.monotonic() - began:.0f} s)", flush=True)
        said = copy.make()
        tests = sorted({word for fault in chosen.values() for word in fault.tests.split() if word.endswith(".py")})
        clean = not said and copy.test(" ".join(tests)) == 0
        print("without a fault all of these pass" if clean else "WITHOUT A FAULT SOME OF THESE FAIL")
    sys.exit(bool(wrong or not clean))


if __name__ == "__main__":
    main()
