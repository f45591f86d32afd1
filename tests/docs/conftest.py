"""What tests of the examples share."""

from __future__ import annotations

import runpy
import sys

import pytest

from support.examples import DATA, ROOT


@pytest.fixture
def some(tmp_path):
    """A function that copies the first lines of a folder's files."""

    def copy(folder, lines):
        if not (DATA / folder).is_dir():
            pytest.skip(f"there is no {folder} in {DATA}")
        (tmp_path / folder).mkdir()
        for path in [*(DATA / folder).glob("*.tsv"), *(DATA / folder).glob("*.txt")]:
            text = path.read_text("utf-8").splitlines()[:: 1 if "ewt" in folder else 10][:lines]
            (tmp_path / folder / path.name).write_text("\n".join(text) + "\n", "utf-8")
        return tmp_path

    return copy


@pytest.fixture
def refused(monkeypatch, capsys):
    """A function that runs an example in this process, and returns what it ends with."""
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    known = set(sys.modules)

    def run_here(name, *arguments):
        path = ROOT / "examples" / f"{name}.py"
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(path), run_name="__main__")
        return ended.value.code if isinstance(ended.value.code, str) else capsys.readouterr().err

    yield run_here
    for module in set(sys.modules) - known:
        if getattr(sys.modules[module], "__file__", None) and "examples" in str(sys.modules[module].__file__):
            del sys.modules[module]
