"""What the documents name is there: files, folders, tests, and the ends of links."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")} - {ROOT / "CHANGELOG.md"})
# A folder, a file of the source, or whatever stands in one of its folders.
NAMES = r"`([\w./*-]+/|[\w./*-]+\.(?:c|cpp|h|md|py|txt)|(?:bench|csrc|docs|pylstm|tests|tools)/[\w./*-]+)`"

pytestmark = pytest.mark.skipif(not (ROOT / "HACKING.md").is_file(), reason="needs the documents beside the tests")


@pytest.fixture(scope="module")
def places() -> dict[str, list[Path]]:
    """Every file and folder of the source by each end of its path: `plan.cpp`, `csrc/plan.cpp`."""
    found: dict[str, list[Path]] = {}
    for top in ROOT.iterdir():
        if not top.name.startswith(".") and top.name not in ("build", "dist"):
            for path in (top, *top.rglob("*")):
                parts = path.relative_to(ROOT).parts
                for start in range(len(parts)):
                    found.setdefault("/".join(parts[start:]), []).append(path)
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_tests(document: Path, places: dict[str, list[Path]]):
    text = re.sub(r"^```.*?^```", "", document.read_text("utf-8"), flags=re.M | re.S)
    names = set(re.findall(NAMES, text))
    plain = {name.rstrip("/") for name in names if "*" not in name} - {"build/docs"}
    assert not sorted(plain - places.keys())
    assert not [name for name in names if "*" in name and not fnmatch.filter(places, name)]
    for path, test in re.findall(r"`([\w/]+\.py)::(\w+)", text):
        assert any(f"def {test}" in file.read_text("utf-8") for file in places[path]), f"{path}::{test}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links(document: Path):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", document.read_text("utf-8")):
        assert "://" in target or (document.parent / target).exists(), target


def test_every_part_of_the_source_is_on_the_map():
    text = (ROOT / "HACKING.md").read_text("utf-8")
    parts = [*(ROOT / "csrc").iterdir(), *(ROOT / "pylstm").iterdir(), *(ROOT / "tests").iterdir()]
    named = {Path(name.rstrip("/*.")).stem for name in re.findall(r"`([\w./*-]+)`", text)}
    old = {"__init__", "__pycache__", "_core", "conftest", "model", "py", "view"}  # and what needs no word
    assert not sorted({part.stem for part in parts} - named - old)
