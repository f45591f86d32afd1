"""A wrong description of a cell does not compile, and the compiler says which cell and what is wrong.

Each mistake is planted into the text of a real cell of csrc/cells/, or of a cell for tests (row_cells.h); nothing is
linked or run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

import pylstm
from pylstm import _core
from pylstm.reference.cells import BY_NAME

CSRC = Path(__file__).resolve().parents[2] / "csrc"
COMPILER = os.environ.get("CXX") or next((c for c in ("g++", "clang++") if shutil.which(c)), "")

needs_compiler = pytest.mark.skipif(not COMPILER or not CSRC.is_dir(), reason="needs a C++ compiler and the source")


class Mistake(NamedTuple):
    file: str
    cell: str
    old: str
    new: str
    message: str  # of the compiler
    about: str  # the name it is about


MISTAKES = {
    "a ref missing": Mistake(
        "gru.h", "GruAfter", ' + io[d_state<"h">]', "", "no backward stage takes or leaves this gradient", "h"
    ),
    "a ref too many": Mistake(
        "lstm.h", "Lstm", 'io.put(state<"c">, c);', 'io.put(state<"c">, c), io.put(record<"q">, g);',
        "names what the cell has not declared", "q",
    ),
    "a ref that nobody takes": Mistake(
        "lstm.h", "Lstm", '{"f"}, {"g"}, {"o"}};', '{"f"}, {"g"}, {"o"}, {"q"}};', "no stage writes this", "q"
    ),
    "a row written and not read": Mistake(
        "gru.h", "GruAfter", 'io[record<"nh">]', "n", "written, but no stage reads this", "nh"
    ),
    "two refs exchanged": Mistake(
        "lstm.h", "Lstm", 'i = io[record<"i">], f = io[record<"f">]', 'i = io[record<"f">], f = io[record<"i">]',
        "do not give the derivative", "i",
    ),
    "before and after exchanged": Mistake(
        "lstm.h", "Lstm", 'fma(f, io[previous<"c">], i * g);', 'fma(f, io[state<"c">], i * g);',
        "read before it is written", "c",
    ),
    "a factor forgotten": Mistake(
        "gru.h", "GruAfter", 'io.put(d_column<"nh">, d_n * r);', 'io.put(d_column<"nh">, d_n);',
        "do not give the derivative", "nh",
    ),
    "a column nobody writes": Mistake(
        "gru.h", "GruAfter", '      io.put(d_column<"n">, d_n);\n', "", "no stage writes this", "n"
    ),
    "a column nobody reads": Mistake(
        "rnn.h", "Rnn", 'columns = {both("h")};', 'columns = {both("h"), of_operand("q", "h")};',
        "no stage reads this column", "q",
    ),
    "a segment outside the gates": Mistake(
        "gru.h", "GruBefore", 'columns = {both("r"), both("z")};', 'columns = {both("r"), of_operand("z", "q")};',
        "a gate that its matrix does not have", "q",
    ),
    "a gate left out": Mistake(
        "gru.h", "GruAfter", 'gates = {"r", "z", "n"};', 'gates = {"r", "z", "n", "q"};',
        "rows of a matrix add to no column", "q",
    ),
    "a state never written": Mistake(
        "lstm.h", "Lstm", '    io.put(state<"c">, c);\n', "", "read before it is written", "c"
    ),
    "a state never written nor read": Mistake(
        "rnn.h", "Rnn", 'states = {{"h", Size::output}};', 'states = {{"h", Size::output}, {"q"}};',
        "no stage writes this", "q",
    ),
    "a record read before it is written": Mistake(
        "gru.h", "GruBefore", "Stages<Gates, Candidate>", "Stages<Candidate, Gates>", "read before it is written", "rh"
    ),
    "a gradient multiplied before it is there": Mistake(
        "gru.h", "GruBefore", "Stages<CandidateBack, ResetBack>", "Stages<ResetBack, CandidateBack>",
        "read before it is written", "h",
    ),
    "a parameter nobody uses": Mistake(
        "lstm.h", "Lstm", "{weight_ih, weight_hh, bias_ih, bias_hh};",
        '{weight_ih, weight_hh, bias_ih, bias_hh, unit_vector("q")};', "no stage uses this parameter", "q",
    ),
    "a row of another width": Mistake(
        "lstm.h", "LstmProjected", "using through = Step;\n    static constexpr Size width = Size::output;",
        "using through = Step;",
        "a row of another width than the stage", "d_output",
    ),
    "written twice": Mistake(
        "gru.h", "GruAfter", 'io.put(record<"r">, r)', 'io.put(record<"r">, r), io.put(record<"r">, z)',
        "written twice", "r",
    ),
    "a product without its gradient": Mistake(
        "gru.h", "GruBefore", "using through = Candidate;", "using through = Gates;",
        "goes back through this product", "",
    ),
    "an operand of the wrong kind": Mistake(
        "lstm.h", "Lstm", 'product = {"weight_hh", previous<"h">};', 'product = {"weight_hh", previous<"c">};',
        "a product can multiply", "c",
    ),
    "a row stage that multiplies": Mistake(
        "row_cells.h", "LayerNormRnn", "struct Normalise {",
        'struct Normalise { static constexpr Product product = {"weight_hh", record<"a">};',
        "a stage of whole rows has no product", "weight_hh",
    ),
    "a row stage with columns": Mistake(
        "row_cells.h", "LayerNormRnn", "struct Normalise {",
        'struct Normalise { static constexpr List<ColumnSpec> columns = {of_x("q")};',
        "a stage of whole rows has no product", "q",
    ),
    "a row stage behind a product": Mistake(
        "row_cells.h", "LayerNormRnn", "struct NormaliseBack {", "struct NormaliseBack { using through = Sum;",
        "a stage of whole rows has no product", "product",
    ),
    "the mean of a row forgotten": Mistake(
        "row_cells.h", "LayerNormRnn", 'u[d_record<"n">] - mean - u', 'u[d_record<"n">] - u',
        "do not give the derivative", "h",
    ),
    "another factor for a whole row": Mistake(
        "row_cells.h", "ClippedRnn", "/ (most * most)", "/ most", "do not give the derivative", "h"
    ),
    "a row of one read by units": Mistake(
        "row_cells.h", "LayerNormRnn", 'scale * (u[d_record<"n">]', 'u[record<"scale">] * (u[d_record<"n">]',
        "a row of another width than the stage", "scale",
    ),
    "a row of units read as one": Mistake(
        "row_cells.h", "LayerNormRnn", 'row[record<"scale">]', 'row[record<"n">]',
        "a row of another width than the stage", "n",
    ),
    "a record read in a row before it is written": Mistake(
        "row_cells.h", "LayerNormRnn", 'rsqrt(variance + row[constant<"eps">])',
        'variance * row[constant<"eps">] * row[record<"scale">]', "read before it is written", "scale",
    ),
    "the gradient to a record before it is there": Mistake(
        "row_cells.h", "LayerNormRnn", "Stages<OutputBack, NormaliseBack>", "Stages<NormaliseBack, OutputBack>",
        "read before it is written", "n",
    ),
    "the gradient to a record that nobody takes": Mistake(
        "row_cells.h", "LayerNormRnn", 'io.put(d_record<"n">,', 'io.put(d_record<"a">, d), io.put(d_record<"n">,',
        "written, but no stage reads this", "a",
    ),
    "a constant nobody uses": Mistake(
        "row_cells.h", "LayerNormRnn", '{{"eps", 1e-3}}', '{{"eps", 1e-3}, {"q", 1}}',
        "no stage uses this parameter, constant or mask", "q",
    ),
    "a mask nobody uses": Mistake(
        "row_cells.h", "ZoneoutRnn", 'masks = {{"zone", "zoneout"}', 'masks = {{"zone", "zoneout"}, {"q", "zoneout"}',
        "no stage uses this parameter, constant or mask", "q",
    ),
    "a mask of an unknown probability": Mistake(
        "row_cells.h", "ZoneoutRnn", '{{"zone", "zoneout"}', '{{"zone", "q"}',
        "names what the cell has not declared", "q",
    ),
    "another mask in the backward pass": Mistake(
        "row_cells.h", "ZoneoutRnn", 'fma(io[product], io[mask<"drop">]', 'fma(io[product], io[mask<"zone">]',
        "do not give the derivative", "h",
    ),
    "the slope of another function": Mistake(
        "lstm_general.h", "LstmGeneral", "d_c * i.value * g.slope", "d_c * i.value * i.slope",
        "do not give the derivative", "g",
    ),
    "another gate's peephole": Mistake(
        "lstm_general.h", "LstmGeneral", 'fma(d_o, io[parameter<"weight_co">], io[d_state<"c">])',
        'fma(d_o, io[parameter<"weight_ci">], io[d_state<"c">])', "do not give the derivative", "i",
    ),
    "a constant not declared": Mistake(
        "row_cells.h", "LayerNormRnn", '{{"eps", 1e-3}}', '{{"q", 1e-3}}',
        "names what the cell has not declared", "eps",
    ),
}  # fmt: skip


def place(file: str) -> Path:
    return Path(__file__).with_name(file) if file == "row_cells.h" else CSRC / "cells" / file


UNNEEDED = ("#pragma once", '#include "describe.h"', '#include "activations.h"')


def compiled(text: str, folder: Path, only: str = "") -> str:
    """What the compiler has to say of a file with the text of a cell's file in it, of all its cells or of one."""
    source = folder / "planted.cpp"
    structs = re.findall(r"^struct (\w+) \{\n  static constexpr Name name", text, re.MULTILINE)
    structs = [only] if only in structs else structs
    structs = [f"{s}<false>" if f"template <bool RELU>\nstruct {s} " in text else s for s in structs]
    checks = [f"static_assert(described<{s}>().columns.count > 0 && slopes_are_right<{s}>());" for s in structs]
    lines = [
        '#include "cells/slopes.h"',
        '#include "cells/activations.h"',
        *text.splitlines(),
        "namespace pylstm::cells {",
        *checks,
        "}",
    ]
    source.write_text("\n".join(line for line in lines if line not in UNNEEDED))
    command = [COMPILER, "-std=c++20", "-fsyntax-only", "-I", str(CSRC), str(source)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr


@needs_compiler
@pytest.mark.parametrize(
    "file", ["lstm.h", "gru.h", "rnn.h", "lstm_general.h", "gru_general.h", "rnn_general.h", "row_cells.h"]
)
def test_the_cells_as_they_are_compile(file: str, tmp_path: Path) -> None:
    assert "error" not in compiled(place(file).read_text(), tmp_path)


@needs_compiler
@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=list(MISTAKES))
def test_a_mistake_does_not_compile_and_is_named(mistake: Mistake, tmp_path: Path) -> None:
    text = place(mistake.file).read_text()
    assert mistake.old in text, "the cell has changed: plant the mistake anew"
    begin = text.index(f"struct {mistake.cell} ") if mistake.file in ("gru.h", "row_cells.h") else 0
    at = text.index(mistake.old, begin)
    said = compiled(text[:at] + mistake.new + text[at + len(mistake.old) :], tmp_path, mistake.cell)
    assert mistake.message in said
    assert re.search(rf"(Description|Slope)<[^\n]*\b{mistake.cell}\b", said), said[:2000]
    if mistake.about and "g++" in COMPILER and "clang" not in COMPILER:  # Clang shows the letters' numbers
        assert f'Name{{"{mistake.about}"}}' in said, said[:2000]


def test_the_cells_of_the_core() -> None:
    """What Python derives from, against the layers' own parameters and states."""
    made = {
        "lstm": pylstm.LSTM(3, 5), "lstm_projected": pylstm.LSTM(3, 5, proj_size=2), "gru_after": pylstm.GRU(3, 5),
        "gru_before": pylstm.GRU(3, 5, reset_after=False), "rnn_tanh": pylstm.RNN(3, 5),
        "rnn_relu": pylstm.RNN(3, 5, nonlinearity="relu"), "lstm_general": pylstm.LSTM(3, 5, peephole=True),
        "lstm_coupled": pylstm.LSTM(3, 5, coupled=True, peephole=True), "gru_after_general": pylstm.GRU(3, 5, clip=1),
        "gru_before_general": pylstm.GRU(3, 5, reset_after=False, activation="relu"),
        "rnn_general": pylstm.RNN(3, 5, nonlinearity="elu"),
    }  # fmt: skip
    assert set(made) == set(_core.cells())
    for name, cell in _core.cells().items():
        layer = made[name]
        size = {"input": 3, "hidden": 5, "output": layer.output_size}
        shapes = {
            f"{parameter}_l0": (blocks * size[rows], *((size[columns],) if columns != "one" else ()))
            for parameter, (_, blocks, rows, columns, _) in cell["parameters"].items()
        }
        assert shapes == {parameter: array.shape for parameter, array in layer.params.items()}
        assert cell["parameters"]["weight_ih"][:2] == ("matrix", len(cell["gates"]))
        for options in ({}, {"recurrent_bias": False}, {"bias": False}):
            config = {**layer._config(), **options}
            fewer = type(layer)(**config)
            absent = {"bias_ih", "bias_hh"} if "bias" in options else {"bias_hh"} if options else set()
            assert fewer.params.keys() == {f"{key}_l0" for key in cell["parameters"].keys() - absent}
            assert type(layer)._claims(config) == len(fewer.params)
            assert type(layer)._claims({**config, "num_layers": 3, "bidirectional": True}) == 6 * len(fewer.params)
        assert tuple(cell["states"]) == layer._state_names
        assert tuple(size[width] for width in cell["states"].values()) == layer._state_sizes
        assert cell["projects"] == (layer.output_size != 5)


def test_the_functions_of_the_cells() -> None:
    """How many a step calls, and what of it is the value of one: the numbers of a trace lie in its range."""
    cells = _core.cells()
    assert {name: cell["activations"] for name, cell in cells.items()} == {
        "lstm": 5, "lstm_projected": 5, "gru_after": 3, "gru_before": 3, "rnn_tanh": 1, "rnn_relu": 0,
        "lstm_general": 5, "lstm_coupled": 4, "gru_after_general": 3, "gru_before_general": 3, "rnn_general": 1,
    }  # fmt: skip
    for name in ("lstm", "lstm_projected"):
        assert cells[name]["functions"] == {"i": "sigmoid", "f": "sigmoid", "g": "tanh", "o": "sigmoid"}
    for name in ("gru_after", "gru_before"):
        assert cells[name]["functions"] == {"r": "sigmoid", "z": "sigmoid", "n": "tanh"}
    assert [cells[name]["functions"] for name in ("rnn_tanh", "rnn_relu")] == [{"h": "tanh"}, {"h": "relu"}]
    assert all(cell["functions"] == {} for name, cell in cells.items() if "f" in cell["constants"])  # they are chosen


def test_every_cell_has_a_twin_that_knows_its_letters() -> None:
    assert BY_NAME.keys() == _core.cells().keys()
    for name, twin in BY_NAME.items():
        cell = _core.cells()[name]
        inner = [letter for letter in cell["gates"] if letter not in cell["states"]]
        assert set(inner) <= set(twin.saves)
        assert twin.meanings.keys() == {*inner, *list(cell["states"])[1:]}
