"""What the linker may and may not see in the per-ISA objects.

A weak symbol (an inline function or a template instance with external linkage) exists once per program: the linker
could keep the AVX-512 copy and call it on a machine without AVX-512. And the baseline must not hold wide registers.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ("cmake", "nm", "objdump")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(shutil.which(tool) is None for tool in TOOLS) or not (ROOT / "csrc").is_dir(),
        reason=f"needs {', '.join(TOOLS)} and the source",
    ),
]


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """ISA -> object, built with the project's own CMake flags."""
    build = tmp_path_factory.mktemp("kernels")
    configure = ["cmake", "-S", str(ROOT), "-B", str(build), "-DPYLSTM_PYTHON=OFF"]
    for command in (configure, ["cmake", "--build", str(build), "--parallel", "2", "--target", "objects"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    found = {
        path.parts[-3].removeprefix("kernels_").removesuffix(".dir"): path for path in build.rglob("kernels.cpp.o")
    }
    assert found, "CMake made no kernel object"
    return found


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_no_weak_symbols(objects: dict[str, Path]) -> None:
    for isa, path in objects.items():
        weak = [line for line in run("nm", "-C", str(path)).splitlines() if re.search(r" [VvWwu] ", line)]
        assert not weak, f"{isa}: {weak}"


def test_only_the_table_is_exported(objects: dict[str, Path]) -> None:
    for isa, path in objects.items():
        names = [line.split(maxsplit=2)[2] for line in run("nm", "-C", "-g", "--defined-only", str(path)).splitlines()]
        assert names == [f"pylstm::kernels_{isa}"]


def test_registers(objects: dict[str, Path]) -> None:
    if "baseline" not in objects:
        pytest.skip("not an x86-64 build")
    code = {isa: run("objdump", "-d", "--no-show-raw-insn", str(path)) for isa, path in objects.items()}
    assert not re.search(r"%[yz]mm", code["baseline"])
    assert not re.search(r"^\s*[0-9a-f]+:\s+v", code["baseline"], re.MULTILINE)  # AVX's way to write SSE instructions
    assert "%ymm" in code["avx2"]
    assert "%zmm" not in code["avx2"]
    assert "%zmm" in code["avx512"]
