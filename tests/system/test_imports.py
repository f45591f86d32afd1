"""The parts of the source: who may import whom, where public names live, and what `import pylstm` waits for.

The graph is read from the source, imports inside of functions included: what is imported late is a dependency, too.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import pylstm
from pylstm import _names

SOURCE = Path(pylstm.__file__).parent


def for_types_only(node: ast.AST) -> bool:
    name = node.test if isinstance(node, ast.If) else None
    return isinstance(name, (ast.Name, ast.Attribute)) and getattr(name, "id", getattr(name, "attr", "")).endswith(
        "TYPE_CHECKING"
    )


def statements(node: ast.AST):
    """All nodes below that run; what only readers of types see is left out."""
    for child in ast.iter_child_nodes(node):
        if not for_types_only(child):
            yield child
            yield from statements(child)


def modules_of(folder: Path, root: str) -> dict[str, ast.Module]:
    """Name -> syntax tree; a package has the name of its folder."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = [root, *path.relative_to(folder).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return found


def import_graph(folder: Path, root: str) -> dict[str, set[str]]:
    """Name of a module -> those of the package that importing it, or calling what is in it, may import.

    The package itself is left out: everything is in it.
    """
    trees = modules_of(folder, root)
    packages = {str(name) for name in trees if any(other.startswith(f"{name}.") for other in trees)}
    graph: dict[str, set[str]] = {}
    for name, tree in trees.items():
        used = set()
        for node in statements(tree):
            if isinstance(node, ast.Import):
                used |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                base = node.module or ""
                if node.level:
                    parts = name.split(".") if name in packages else name.split(".")[:-1]
                    base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
                inner = {f"{base}.{alias.name}" for alias in node.names}
                used |= {one if one in trees or one == f"{root}._core" else base for one in inner}
        for one in list(used):  # importing a module runs the packages that it is in
            used |= {one[:at] for at, letter in enumerate(one) if letter == "."}
        graph[name] = {one for one in used if one.startswith(f"{root}.")} - {name}
    graph.pop(root)
    return graph


def circle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    seen, todo = set(), [start]
    while todo:
        new = graph.get(todo.pop(), set()) - seen
        seen |= new
        todo += new
    return seen


GRAPH = import_graph(SOURCE, "pylstm")


def part(name: str) -> str:
    return name.split(".")[1]


def test_no_circle():
    assert len(GRAPH) > 40
    assert circle(GRAPH) == []


def test_a_circle_would_be_found(tmp_path):
    """At the top, in a function, through a package's own imports; but not one for types."""
    for text, found in (("from . import b", True), ("def f():\n    from .b import x", True),
                        ("if TYPE_CHECKING:\n    from . import b", False), ("import p.b", True)):  # fmt: skip
        (tmp_path / "__init__.py").write_text("from .a import f")
        (tmp_path / "a.py").write_text(text)
        (tmp_path / "b.py").write_text("def g():\n    from p import c")
        (tmp_path / "c.py").write_text("from .a import f")
        assert bool(circle(import_graph(tmp_path, "p"))) is found, text
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "__init__.py").write_text("from ..a import f")
    (tmp_path / "inner" / "d.py").write_text("")
    (tmp_path / "a.py").write_text("def f():\n    from .inner.d import x")
    assert circle(import_graph(tmp_path, "p"))


# A part may import those before it. What looks inside is imported late, by the method of that name.
ORDER = ["layers", "losses", "decoding", "data", "files", "training", "models", "adapters"]


def test_parts_import_the_parts_before_them():
    wrong = [
        f"{name} imports {other}"
        for name, used in GRAPH.items()
        for other in used
        if part(name) in ORDER and part(other) in ORDER and ORDER.index(part(other)) > ORDER.index(part(name))
    ]
    assert wrong == []


def test_what_looks_inside_is_imported_late():
    at_the_top = {
        name
        for name, tree in modules_of(SOURCE, "pylstm").items()
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and "inspect" in (node.module or "").split(".")
    }
    users = {name for name, used in GRAPH.items() if any(part(one) == "inspect" for one in used)}
    assert {name for name in users - at_the_top if part(name) != "inspect"} == {
        "pylstm.layers.recurrent", "pylstm.models.sequential", "pylstm.training.rate_finder",
    }  # fmt: skip
    assert at_the_top == set()


def test_nobody_imports_what_is_for_other_libraries():
    users = {
        name
        for name, used in GRAPH.items()
        if any(part(one) in ("adapters", "jax", "sklearn", "torch") for one in used)
    }
    assert {name for name in users if part(name) != "adapters"} <= {"pylstm.jax", "pylstm.sklearn", "pylstm.torch"}


def test_the_oracle_stands_alone():
    """Nothing fast imports the reference; its mathematics imports nothing of the library, and its layers the
    signatures and checks that the fast layers have, too, but nothing that computes."""
    users = {name for name, used in GRAPH.items() if any(part(one) == "reference" for one in used)}
    assert {name for name in users if part(name) != "reference"} == {"pylstm.inspect.trace"}
    inside = {name for name in GRAPH if part(name) == "reference"}
    for name in inside - {"pylstm.reference", "pylstm.reference.layers"}:
        assert GRAPH[name] <= {*inside, "pylstm._names"}, name
    computing = {name for name, used in GRAPH.items() if "pylstm._core" in used} - {"pylstm._arrays", "pylstm._cells"}
    assert "pylstm.layers.compiled" in computing
    assert reached(GRAPH, "pylstm.reference.layers") & computing == set()


def test_public_names_live_in_public_modules():
    for name, module in _names.PLACES.items():
        value = getattr(pylstm, name)
        assert value.__module__ == f"pylstm.{module}", name
        assert "._" not in value.__module__
        assert name in dir(pylstm)
        assert getattr(pylstm.model, name) is value
        package = module.rpartition(".")[0]
        if package:
            assert getattr(sys.modules[f"pylstm.{package}"], name) is value
    with pytest.raises(AttributeError, match="'pylstm' has no attribute 'Nothing'"):
        pylstm.Nothing  # noqa: B018
    with pytest.raises(AttributeError, match=r"pylstm\.layers' has no attribute 'Adam'"):
        pylstm.layers.Adam  # noqa: B018


def test_readers_of_types_see_the_same_names():
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    seen = {
        alias.asname or alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level and node.module and node.module != "_names"
        for alias in node.names
    }
    assert seen == _names.PLACES


def test_import_waits_for_layers_only():
    code = "import sys, pylstm; print(*sorted(m for m in sys.modules if m.startswith('pylstm.')))"
    found = subprocess.run([sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", "-c", code],
                           capture_output=True, text=True, check=True, cwd="/").stdout.split()  # fmt: skip
    parts = {part(name) for name in found}
    assert parts & {"training", "losses", "decoding", "files", "models", "inspect", "reference", "adapters"} == set(), (
        found
    )
    assert {name for name in found if part(name) == "layers"} <= {
        f"pylstm.layers{name}"
        for name in ("", ".cell_functions", ".compiled", ".described", ".ends_gradient", ".gru", ".layer", ".lstm",
                     ".parameters", ".recurrent", ".recurrent_parameters", ".registry", ".rnn", ".row_gradient",
                     ".steps", ".stream", ".table_rows")
    }  # fmt: skip
