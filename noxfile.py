"""Sessions for `nox`; each builds pylstm into an environment of its own. `nox -l` lists them."""

from __future__ import annotations

import platform

import nox

nox.options.sessions = ["lint", "typing", "tests"]
nox.options.default_venv_backend = "venv"

TOOLS = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]["dev"]
KERNEL_TESTS = ["tests/core/test_activations.py", "tests/layers/test_recurrent.py"]


@nox.session
def tests(session: nox.Session) -> None:
    """The whole test-suite; arguments after -- go to pytest."""
    session.install(".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """ruff and clang-format; they report and change nothing."""
    session.install(*TOOLS)
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    sources = session.run("git", "ls-files", "csrc/*.h", "csrc/*.cpp", external=True, silent=True)
    session.run("clang-format", "--dry-run", "-Werror", *str(sources).split())


@nox.session
def typing(session: nox.Session) -> None:
    """mypy over the package, the examples and the bench."""
    session.install(*TOOLS, "numpy")
    session.run("mypy")


@nox.session
def no_openmp(session: nox.Session) -> None:
    """A build without OpenMP has to pass everything too."""
    session.install(".[test]", "-C", "cmake.define.PYLSTM_OPENMP=OFF")
    session.run("pytest", *session.posargs)


@nox.session
def isa(session: nox.Session) -> None:
    """The kernel tests once per instruction set of this machine."""
    session.install(".[test]")
    # -I: without it, `python -c` would import the source folder, which has no compiled core
    probe = "from pylstm import _core; print(*_core.available_isas())"
    names = str(session.run("python", "-I", "-c", probe, silent=True)).split()
    for name in names:
        session.run("pytest", *KERNEL_TESTS, *session.posargs, env={"PYLSTM_ISA": name})


@nox.session
def compilers(session: nox.Session) -> None:
    """GCC's and Clang's builds give the same bits."""
    bits = {}
    for compiler in ("g++", "clang++"):
        session.install("--force-reinstall", "--no-cache-dir", ".", env={"CXX": compiler})
        bits[compiler] = session.run("python", "-I", "tools/bits.py", "--together", silent=True)
    if len(set(bits.values())) > 1:
        session.error(f"different bits: {bits}")


@nox.session
def torch(session: nox.Session) -> None:
    """Comparison with PyTorch; this version's wheel is the CPU build."""
    session.install("torch==2.13.0")
    session.install(".[test]")
    session.run("pytest", "tests/layers/test_torch.py", "tests/training/test_torch.py", *session.posargs)


# ---- sanitizers: builds that watch themselves, each with faults planted that it has to find --------------------------

THREADING_TESTS = [
    "tests/core/test_kept_plans.py",
    "tests/core/test_linear.py",
    "tests/core/test_plan.py",
    "tests/layers/test_stream.py",
    "tests/system/test_interrupt.py",
    "tests/system/test_threads.py",
]
FAULTS = ["-C", "cmake.define.PYLSTM_PLANT_FAULTS=ON"]


def runtime_of(session: nox.Session, compiler: str, name: str) -> str:
    """Path of a compiler's sanitizer runtime, which has to be loaded before Python."""
    path = str(session.run(compiler, f"-print-file-name={name}", external=True, silent=True)).strip()
    if "/" not in path:
        session.error(f"{compiler} has no {name}")
    return path


@nox.session
def asan(session: nox.Session) -> None:
    """AddressSanitizer and UndefinedBehaviorSanitizer over the whole test suite, and over random calls."""
    session.install(".[test]", "-C", "cmake.define.PYLSTM_SANITIZE=address,undefined", *FAULTS, env={"CXX": "g++"})
    env = {
        "LD_PRELOAD": " ".join(runtime_of(session, "g++", name) for name in ("libasan.so", "libubsan.so")),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",  # the interpreter frees little at its end
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
        "PYLSTM_CHECKER": "asan",
    }
    session.run("pytest", *session.posargs, env=env)
    session.run("python", "tools/fuzz_calls.py", "--calls", "30000", env=env)


@nox.session
def tsan(session: nox.Session) -> None:
    """ThreadSanitizer over the tests of threads."""
    session.install(".[test]", "-C", "cmake.define.PYLSTM_SANITIZE=thread", *FAULTS, env={"CXX": "g++"})
    env = {
        "LD_PRELOAD": runtime_of(session, "g++", "libtsan.so"),
        "TSAN_OPTIONS": "ignore_noninstrumented_modules=1:halt_on_error=0:exitcode=66",
        "PYLSTM_CHECKER": "tsan",
    }
    session.run("pytest", *THREADING_TESTS, "tests/core/test_sanitizers.py", *session.posargs, env=env)


SOURCES = [
    f"csrc/{name}.cpp"
    for name in (
        "adam",
        "backward",
        "dropout",
        "fork",
        "forward",
        "kept_plans",
        "linear",
        "linear_cross_entropy",
        "matmul",
        "memory",
        "network",
        "pack",
        "parallel",
        "plan",
    )
]
CORE_FLAGS = ["-std=c++20", "-O2", "-ffp-contract=off", "-fno-math-errno", "-Wno-psabi", "-Icsrc"]
ISA_FLAGS = {"avx2": ["-mavx2", "-mfma"]}


def core_test(session: nox.Session, compiler: str, isas: list[str]) -> str:
    """Builds tests/core/kernels.cpp with these instruction sets; its path."""
    room = session.create_tmp()
    objects = []
    for isa in isas:
        objects.append(f"{room}/{compiler}-{isa}.o")
        header = f'-DPYLSTM_ISA_HEADER="simd/{isa}.h"'
        command = [compiler, *CORE_FLAGS, *ISA_FLAGS.get(isa, []), header, "-c", "csrc/kernels.cpp", "-o", objects[-1]]
        session.run(*command, external=True)
    names = "-DPYLSTM_TEST_ISAS(f)=" + " ".join(f"f({isa})" for isa in isas)
    program = f"{room}/{compiler}-kernels"
    sources = ["tests/core/kernels.cpp", *SOURCES, "csrc/cells/cells.cpp", *objects]
    session.run(compiler, *CORE_FLAGS, names, *sources, "-static", "-o", program, external=True)
    return program


@nox.session(venv_backend="none")
def neon(session: nox.Session) -> None:
    """The core on AArch64 in an emulator (Debian: g++-aarch64-linux-gnu, qemu-user): right, and the bits of AVX2."""
    arm = core_test(session, "aarch64-linux-gnu-g++", ["baseline", "neon"])
    said = str(session.run("qemu-aarch64", arm, external=True, silent=True))
    session.log(said)
    if platform.machine() == "x86_64":
        here = str(session.run(core_test(session, "g++", ["baseline", "avx2"]), external=True, silent=True))
        if said.split("neon ")[1].split()[0] != here.split("avx2 ")[1].split()[0]:
            session.error(f"NEON and AVX2 differ in their bits:\n{said}\n{here}")


@nox.session
def valgrind(session: nox.Session) -> None:
    """Valgrind over a short run. It knows no AVX-512, so AVX2 is what runs."""
    session.install(".[test]", *FAULTS)
    checker = f"valgrind --quiet --error-exitcode=9 --suppressions={session.invoked_from}/tools/valgrind.supp"
    env = {"PYTHONMALLOC": "malloc", "PYLSTM_CHECKER": "valgrind", "PYLSTM_CHECK_WITH": checker}
    session.run(*checker.split(), "python", "tools/fuzz_calls.py", "--calls", "300", external=True, env=env)
    session.run("pytest", "tests/core/test_sanitizers.py", env=env)


@nox.session
def fuzz(session: nox.Session) -> None:
    """A million random calls, right and wrong ones."""
    session.install(".")
    session.run("python", "tools/fuzz_calls.py", *session.posargs)


@nox.session
def fuzz_files(session: nox.Session) -> None:
    """An hour of damaged and hostile model files; `-- --minutes 5 --seed 3` for less, `-- --atheris` where it is."""
    session.install(".[test]")
    if "--atheris" in session.posargs:
        session.install("atheris")
    session.run("python", "tools/fuzz_files.py", *session.posargs)


@nox.session
def machines(session: nox.Session) -> None:
    """State machines of Hypothesis, ten minutes each: `nox -s machines -- --minutes 1`."""
    session.install(".[test]")
    for program in ("tools/machine_layers.py", "tools/machine_training.py"):
        session.run("python", program, *(session.posargs or ["--minutes", "10"]))
