"""Markdown pages whose Python runs, block after block in one namespace, with Sybil.

A block of text that follows a block of Python at once shows what it prints; `...` in it stands for anything. A block
that names an optional library runs where that is installed, and so does one that needs what such a block has made.
`<!-- skip: next -->` before a block leaves it out, and `<!-- invisible-code-block: python ... -->` holds what a reader
need not see; Sybil's own documentation has more.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import importlib
import importlib.util
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

sybil = pytest.importorskip("sybil")
from sybil.evaluators.python import PythonEvaluator  # noqa: E402
from sybil.parsers.markdown import CodeBlockParser, SkipParser  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
OPTIONAL = ("torch", "jax", "keras", "matplotlib", "onnx", "safetensors", "sklearn", "tqdm")
PRINTED = "what the last block printed, and where it ended"
LACKING = "names that blocks which did not run would have made"


def names_of(code: str) -> tuple[set[str], set[str]]:
    """Those that a block makes, and those that it uses."""
    made, used = set(), set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            made |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            made.add(node.name)
    return made, used


def run_python(example: sybil.Example) -> None:
    """Runs a block, and keeps what it prints for the block of text behind it."""
    missing = [name for name in OPTIONAL if re.search(rf"\b{name}\.|import {name}\b|from {name}\b", example.parsed)
               and importlib.util.find_spec(name) is None]  # fmt: skip
    lacking: set[str] = example.namespace.setdefault(LACKING, set())
    made, needed = names_of(example.parsed)
    if missing or needed & lacking:
        lacking |= made
        example.namespace.pop(PRINTED, None)
        return
    lacking -= made
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        PythonEvaluator()(example)
    example.namespace[PRINTED] = printed.getvalue(), example.end


def compare(example: sybil.Example) -> None:
    """What a block of text shows, with what was printed."""
    printed, end = example.namespace.get(PRINTED, ("", -1))
    if end < 0 or example.document.text[end : example.start].strip():
        return  # no block of Python before it
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    if not doctest.OutputChecker().check_output(example.parsed, printed, options):
        raise AssertionError(
            f"{example.path}:{example.line} shows\n{example.parsed}\nwhere this was printed:\n{printed}"
        )


PARSERS = [CodeBlockParser("python", run_python), CodeBlockParser("text", compare), SkipParser()]


def examples(page: Path) -> Iterator[sybil.Example]:
    """The blocks of a page, to be evaluated in their order."""
    return sybil.Sybil(PARSERS).parse(page).examples()


def with_python() -> list[Path]:
    """The pages of docs/ that hold Python."""
    pages = sorted((ROOT / "docs").rglob("*.md"))
    return [page for page in pages if re.search(r"^```python$", page.read_text(encoding="utf-8"), re.MULTILINE)]
