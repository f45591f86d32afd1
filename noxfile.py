"""Sessions for `nox`; each builds pylstm into an environment of its own. `nox -l` lists them."""

from __future__ import annotations

import nox

nox.options.sessions = ["lint", "typing", "tests"]
nox.options.default_venv_backend = "venv"

TOOLS = nox.project.load_toml("pyproject.toml")["project"]["optional-dependencies"]["dev"]
KERNEL_TESTS = ["tests/test_activations.py", "tests/test_layers.py"]


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
def torch(session: nox.Session) -> None:
    """Comparison with PyTorch; this version's wheel is the CPU build."""
    session.install("torch==2.13.0")
    session.install(".[test]")
    session.run("pytest", "tests/test_torch.py", "tests/test_model_torch.py", *session.posargs)
