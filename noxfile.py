"""Sessions for `nox`; each has an environment of its own. `nox -l` lists them, `nox -t ci` runs those of `.ci/run`.

A command stands in one place: CMakeLists.txt and CMakePresets.json build, pyproject.toml configures the tools,
sessions call them, and `.ci/run` calls the sessions.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.options.sessions = ["lint", "typing", "tests"]
nox.options.default_venv_backend = "venv"

TOOLS = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]["dev"]
LARGEST_WHEEL = 2_000_000  # bytes
WHEELS: dict[tuple[str, ...], str] = {}


def wheel(session: nox.Session, source: str, *settings: str, compiler: str = "") -> str:
    """A wheel built with these settings of CMake; sessions of one run share it."""
    key = (source, compiler, *settings)
    if key not in WHEELS:
        folder = Path(session.cache_dir, "wheels", str(len(WHEELS)))
        shutil.rmtree(folder, ignore_errors=True)
        options = [word for setting in settings for word in ("-C", f"cmake.define.{setting}")]
        command = ["pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), source, *options]
        session.run(*command, env={"CXX": compiler} if compiler else {})
        (made,) = folder.glob("*.whl")
        WHEELS[key] = str(made)
    return WHEELS[key]


def install(
    session: nox.Session, *settings: str, extras: str = "[test]", source: str = ".", compiler: str = ""
) -> None:
    """pylstm, built with these settings, and its extras."""
    made = wheel(session, source, *settings, compiler=compiler)
    session.install("--quiet", "--force-reinstall", "--no-deps", made)
    session.install(f"{made}{extras}")


def python(session: nox.Session, program: str, env: dict[str, str] | None = None) -> str:
    """What a line of Python says; -I: else it would import the source folder, which has no compiled core."""
    return str(session.run("python", "-I", "-c", program, silent=True, env=env)).strip()


# ---- every day -------------------------------------------------------------------------------------------------------


@nox.session
def tests(session: nox.Session) -> None:
    """The whole test-suite; arguments after -- go to pytest."""
    install(session)
    session.run("pytest", *session.posargs)


@nox.session(tags=["ci"])
def lint(session: nox.Session) -> None:
    """ruff and clang-format; they report and change nothing."""
    session.install("--quiet", *TOOLS)
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    sources = [
        path for folder in ("csrc", "tests", "tools") for end in ("h", "cpp") for path in Path(folder).rglob(f"*.{end}")
    ]
    session.run("clang-format", "--dry-run", "-Werror", *map(str, sorted(sources)))


@nox.session(tags=["ci"])
def typing(session: nox.Session) -> None:
    """mypy over the package, the examples and the bench."""
    session.install("--quiet", *TOOLS, "numpy")
    session.run("mypy")


@nox.session(tags=["ci"])
def docs(session: nox.Session) -> None:
    """The documentation, in build/docs; a warning is an error, and so is a public name that is not described."""
    install(session, extras="[docs]")
    session.run("sphinx-build", "-W", "--keep-going", "-b", "html", "docs", "build/docs", *session.posargs)


# ---- builds ----------------------------------------------------------------------------------------------------------


@nox.session(tags=["ci"])
def isa(session: nox.Session) -> None:
    """Tests of layers on this machine's other instruction sets, but for those that run on all by themselves."""
    install(session)
    for name in python(session, "from pylstm import _core; print(*_core.available_isas()[1:])").split():
        tests = [
            "tests/layers/test_recurrent.py",
            "tests/layers/test_stream.py",
            "-m",
            "not exhaustive and not every_isa",
        ]
        session.run("pytest", *tests, *session.posargs, env={"PYLSTM_ISA": name})


@nox.session(tags=["ci"])
def torch(session: nox.Session) -> None:
    """Comparison with PyTorch; this version's wheel is the CPU build."""
    try:
        session.install("--quiet", "torch==2.13.0", "expecttest")  # the latter for PyTorch's own samples
    except CommandFailed:
        session.skip("torch==2.13.0 could not be installed")
    install(session)
    files = [*Path("tests").glob("*/test_torch.py"), *Path("tests/adapters").glob("test_torch_*.py")]
    session.run("pytest", *map(str, sorted(files)), *session.posargs)


@nox.session
def adapters(session: nox.Session) -> None:
    """pylstm inside of other libraries' programs: scikit-learn's own checks of estimators, JAX, and ours."""
    install(session, extras="[test,sklearn,jax]")
    session.install("--quiet", "pandas")  # without which some of those checks do nothing
    session.run("pytest", *(session.posargs or ["tests/adapters", "tests/docs/test_docstrings.py"]))


@nox.session
def keras(session: nox.Session) -> None:
    """Models that an installed Keras wrote, and loads, beside ours; it computes with PyTorch."""
    install(session, extras="[test]")
    session.install("--quiet", "keras==3.15.1", "torch==2.13.0")
    tests = [*sorted(map(str, Path("tests/models").glob("test_keras_*.py"))), "tests/files/test_hdf5.py"]
    session.run("pytest", *(session.posargs or tests), env={"KERAS_BACKEND": "torch"})


@nox.session(tags=["ci"])
def sdist(session: nox.Session) -> None:
    """What is published: a wheel made from the sdist, here without OpenMP, is small, and what runs the core passes.

    The parts in which the core is not at work have passed with OpenMP already: 60 minutes are for all of `.ci/run`.
    """
    session.install("--quiet", "build")
    folder = session.create_tmp()
    session.run("python", "-m", "build", "--sdist", "--outdir", folder, ".")
    (packed,) = Path(folder).glob("pylstm-*.tar.gz")
    session.run("tar", "-xzf", str(packed), "-C", folder, external=True)
    source = str(packed).removesuffix(".tar.gz")
    install(session, "PYLSTM_OPENMP=OFF", source=source)
    size = os.path.getsize(wheel(session, source, "PYLSTM_OPENMP=OFF"))
    session.log(f"the wheel has {size:,} bytes")
    if size >= LARGEST_WHEEL:
        session.error(f"the wheel has more than {LARGEST_WHEEL:,} bytes")
    session.log(python(session, "import pylstm; pylstm.show_config()"))
    session.chdir(source)
    tests = ["tests/core", "tests/system", "tests/layers/test_recurrent.py", "-m", "not exhaustive and not every_isa"]
    left_out = ["--ignore=tests/core/test_objects.py"]  # a minute of building objects that know nothing of OpenMP
    session.run("pytest", *(session.posargs or [*tests, *left_out]))


@nox.session
def compilers(session: nox.Session) -> None:
    """GCC's and Clang's builds give the same bits."""
    bits = {}
    for compiler in ("g++", "clang++"):
        install(session, extras="", compiler=compiler)
        bits[compiler] = session.run("python", "-I", "tools/bits.py", "--together", silent=True)
    if len(set(bits.values())) > 1:
        session.error(f"different bits: {bits}")


# ---- the core without Python -----------------------------------------------------------------------------------------


def core_test(session: nox.Session, preset: str) -> str:
    """Builds and runs the core's own test; what it said."""
    session.install("--quiet", "cmake>=3.25", "ninja")
    said = str(session.run("cmake", "--workflow", "--preset", preset, silent=True))
    session.log(said[said.rindex("Test command") :])
    return said


@nox.session(tags=["ci"])
def core(session: nox.Session) -> None:
    """Every instruction set of this machine against the baseline, from C++."""
    core_test(session, "core")


@nox.session(tags=["ci"])
def neon(session: nox.Session) -> None:
    """The core on AArch64 in an emulator (Debian: g++-aarch64-linux-gnu, qemu-user): right, and the bits of AVX2."""
    missing = [tool for tool in ("aarch64-linux-gnu-g++", "qemu-aarch64") if shutil.which(tool) is None]
    if missing:
        session.skip(f"needs {' and '.join(missing)}")
    arm = core_test(session, "neon")
    if platform.machine() == "x86_64":
        here = core_test(session, "core")
        bits = [re.findall(rf"{isa} ([0-9a-f]{{16}})", said) for isa, said in (("neon", arm), ("avx2", here))]
        if bits[0] != bits[1] or not bits[0]:
            session.error(f"NEON and AVX2 differ in their bits: {bits}")


# ---- sanitizers: builds that watch themselves, each with faults planted that it has to find --------------------------

FAULTS = "PYLSTM_PLANT_FAULTS=ON"
# With cells that are for tests alone: whole rows, constants, masks.
TEST_CELLS = "PYLSTM_TEST_CELLS=ON"
# Where the core meets arrays of every kind; `nox -s asan -- tests` runs everything.
MEMORY = [
    "tests/core/test_ctc.py",
    "tests/core/test_ctc_wrong.py",
    "tests/core/test_gradient_slices.py::test_slices_change_places",
    "tests/core/test_gradient_slices.py::test_gradients_are_added_to_what_is_there",
    "tests/core/test_linear.py",
    "tests/core/test_linear_cross_entropy.py",
    "tests/core/test_matmul.py",
    "tests/core/test_plan.py",
    "tests/core/test_row_stages.py",
    "tests/core/test_sanitizers.py",
    "tests/core/test_sum_of_squares.py",
    "tests/decoding/test_sampling.py",
    "tests/layers/test_backward.py",
    "tests/layers/test_bad_inputs.py",
    "tests/layers/test_held_arrays.py",
    "tests/layers/test_inputs.py",
    "tests/layers/test_odd_table_rows.py",
    "tests/layers/test_out.py",
    "tests/layers/test_parameters.py",
    "tests/layers/test_recurrent.py",
    "tests/layers/test_stream.py",
    "tests/layers/test_table_rows.py",
    "tests/models/test_stream.py",
    "tests/system/test_fork.py",
    "tests/tools/test_fuzz_calls.py",
    "tests/training/test_optimizers.py",
]
# Where threads meet. Not those of Ctrl-C: their bounds on time do not hold under this sanitizer, which also ends
# children that start threads.
THREADING = [
    "tests/core/test_ctc.py",
    "tests/core/test_ctc_wrong.py",
    "tests/core/test_gradient_slices.py::test_slices_change_places",
    "tests/core/test_gradient_slices.py::test_gradients_are_added_to_what_is_there",
    "tests/core/test_kept_plans.py",
    "tests/core/test_linear.py",
    "tests/core/test_linear_cross_entropy.py",
    "tests/core/test_matmul.py",
    "tests/core/test_plan.py",
    "tests/core/test_sanitizers.py",
    "tests/core/test_sum_of_squares.py",
    "tests/layers/test_stream.py",
    "tests/layers/test_table_rows.py",
    "tests/system/test_threads.py",
]


def sanitized(
    session: nox.Session, sanitizers: str, *runtimes: str, settings: tuple[str, ...] = (), **options: str
) -> dict[str, str]:
    """Installs a build with these sanitizers; the environment it runs in. Skips where they do not run."""
    paths = [
        str(session.run("g++", f"-print-file-name={name}", external=True, silent=True)).strip() for name in runtimes
    ]
    env = {"LD_PRELOAD": " ".join(paths), **options}  # a runtime has to be loaded before Python
    try:
        if not all("/" in path for path in paths):
            raise CommandFailed
        python(session, "pass", env)
    except CommandFailed:
        session.skip(f"no {' and '.join(runtimes)} that runs here")
    install(session, f"PYLSTM_SANITIZE={sanitizers}", FAULTS, *settings, compiler="g++")
    return env


@nox.session(tags=["ci"])
def asan(session: nox.Session) -> None:
    """AddressSanitizer and UndefinedBehaviorSanitizer over the tests that meet memory, random calls among them."""
    env = sanitized(
        session,
        "address,undefined",
        "libasan.so",
        "libubsan.so",
        settings=(TEST_CELLS,),
        ASAN_OPTIONS="detect_leaks=0:allocator_may_return_null=1",  # the interpreter frees little at its end
        UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1",
        PYLSTM_CHECKER="asan",
    )
    # Not whether any number of threads gives the same bits: it took 70 of the 113 s of a variant of test_recurrent.py.
    session.run("pytest", *(session.posargs or [*MEMORY, "-k", "not any_number_of_threads"]), env=env)


@nox.session(tags=["ci"])
def tsan(session: nox.Session) -> None:
    """ThreadSanitizer over the tests of threads."""
    options = "ignore_noninstrumented_modules=1:halt_on_error=0:exitcode=66"
    one = ("PYLSTM_ONLY_BASELINE=ON",)  # threads meet in portable code
    env = sanitized(session, "thread", "libtsan.so", settings=one, TSAN_OPTIONS=options, PYLSTM_CHECKER="tsan")
    session.run("pytest", *(session.posargs or THREADING), env=env)


@nox.session
def valgrind(session: nox.Session) -> None:
    """Valgrind over a short run. It knows no AVX-512, so AVX2 is what runs."""
    install(session, FAULTS)
    checker = f"valgrind --quiet --error-exitcode=9 --suppressions={session.invoked_from}/tools/valgrind.supp"
    env = {"PYTHONMALLOC": "malloc", "PYLSTM_CHECKER": "valgrind", "PYLSTM_CHECK_WITH": checker}
    session.run(*checker.split(), "python", "tools/fuzz_calls.py", "--calls", "300", external=True, env=env)
    session.run("pytest", "tests/core/test_sanitizers.py", env=env)


# ---- long runs -------------------------------------------------------------------------------------------------------


@nox.session
def fuzz(session: nox.Session) -> None:
    """A million random calls, right and wrong ones."""
    install(session, extras="")
    session.run("python", "tools/fuzz_calls.py", *session.posargs)


@nox.session
def fuzz_files(session: nox.Session) -> None:
    """An hour of damaged and hostile model files; `-- --minutes 5 --seed 3` for less, `-- --atheris` where it is."""
    install(session)
    if "--atheris" in session.posargs:
        session.install("atheris")
    session.run("python", "tools/fuzz_files.py", *session.posargs)


@nox.session
def machines(session: nox.Session) -> None:
    """State machines of Hypothesis, ten minutes each: `nox -s machines -- --minutes 1`."""
    install(session)
    for program in ("tools/machine_layers.py", "tools/machine_training.py"):
        session.run("python", program, *(session.posargs or ["--minutes", "10"]))


@nox.session
def faults(session: nox.Session) -> None:
    """Plants the faults of docs/promises.md, one after the other; arguments are parts of their names."""
    session.install("--quiet", "pybind11", "cmake", "ninja", "torch==2.13.0")
    install(session)
    session.run("python", "tools/plant_faults.py", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Small changes of a module that its tests miss: `nox -s mutants -- files/paths.py tests/files/test_reading.py`."""
    session.install("--quiet", "cosmic-ray>=8.3")
    install(session)
    module, *tests = session.posargs or session.error("name a module of the package, then tests")
    path = python(session, f"import pylstm, pathlib; print(pathlib.Path(pylstm.__file__).parent / {module!r})")
    folder = Path(session.create_tmp())
    settings, result = str(folder / "settings.toml"), str(folder / "result.sqlite")
    Path(settings).write_text(
        f"""
        [cosmic-ray]
        module-path = "{path}"
        timeout = 120.0
        excluded-modules = []
        test-command = "pytest -q -x -p no:cacheprovider {" ".join(tests)}"
        [cosmic-ray.distributor]
        name = "local"
        [cosmic-ray.filters.operators-filter]
        exclude-operators = ["core/ReplaceBinaryOperator_BitOr_.*"]  # annotations
        """,
        encoding="utf-8",
    )
    Path(result).unlink(missing_ok=True)
    session.run("cosmic-ray", "init", settings, result)
    session.run("cr-filter-operators", result, settings, silent=True)
    env = {"PYTHONDONTWRITEBYTECODE": "1"}  # what was compiled before a change must not be run after it
    session.run("cosmic-ray", "baseline", settings, env=env)
    session.run("cosmic-ray", "exec", settings, result, env=env)
    session.run("cr-report", "--surviving-only", "--show-diff", result)
