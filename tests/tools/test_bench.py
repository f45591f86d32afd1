"""The bench: its arithmetic, its checks between libraries, and that the README shows what was measured. No timing."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from support.bench import BENCH, ROOT, load, needs_bench

pytestmark = needs_bench


def make_case(**changes):
    options = {"name": "test", "cell": "lstm", "T": 10, "N": 8, "I": 32, "H": 64}
    return load("cases").Case(**options | changes)


def test_flops_of_an_lstm():
    limits, case = load("limits"), make_case()
    forward = 2 * 4 * 64 * (32 + 64) * 80
    assert limits.flops(case, training=False) == forward
    assert limits.flops(case, training=True) == 3 * forward
    assert limits.activations(case) == 5 * 64 * 80


def test_flops_of_a_bidirectional_stack():
    limits, case = load("limits"), make_case(cell="gru", layers=2, bidirectional=True)
    assert limits.flops(case, training=False) == 2 * 3 * 64 * (32 + 64 + 128 + 64) * 80 * 2
    assert limits.activations(case) == 3 * 64 * 80 * 4


def test_padding_is_no_work():
    limits, case = load("limits"), make_case(T=100, ragged=True)
    lengths = load("cases").make_data(case).lengths
    assert lengths.min() >= 25
    assert lengths.max() <= 100
    assert limits.rows(case) == lengths.sum()
    assert limits.last_step(case) == lengths.max()


def test_limit_by_compute(machine):
    limits, case = load("limits"), make_case(N=256)
    found = limits.limit(case, False, machine)
    flops = 2 * 4 * 64 * 96 * 2560
    assert found.term == "compute"
    assert found.seconds == pytest.approx(flops / 1e12 + 5 * 64 * 2560 * 1e-10 / 2)
    slower = limits.limit(case, False, machine.at_pace(0.5))
    assert slower.seconds == pytest.approx(2 * found.seconds)


def test_limit_by_weights_takes_the_better_split(machine):
    limits, case = load("limits"), make_case(N=1, H=512, I=16)
    weights = 4 * 4 * 512**2  # 4 MiB: from L3 as a whole; a half does not fit a core's L2 either
    seconds = limits.weights_seconds(case, False, machine)
    assert seconds["batch"] == pytest.approx(10 * weights / 10e9)
    assert seconds["units"] == pytest.approx(10 * weights / 2 / 10e9)
    found = limits.limit(case, False, machine)
    assert (found.term, found.split) == ("weights", "units")
    assert limits.limit(case, True, machine).terms["weights"] == pytest.approx(2 * found.seconds)


def test_latency_of_a_stack(machine):
    limits = load("limits")
    assert limits.latency_seconds(make_case(), False, machine) == pytest.approx(10 * 175e-9)
    assert limits.latency_seconds(make_case(layers=3), True, machine) == pytest.approx(2 * 12 * 175e-9)
    assert limits.latency_seconds(make_case(layers=3, bidirectional=True), False, machine) == pytest.approx(30 * 175e-9)


def test_data_are_the_same_in_every_process():
    cases = load("cases")
    first, second = (cases.make_data(make_case(ragged=True)) for _ in range(2))
    np.testing.assert_array_equal(first.x, second.x)
    np.testing.assert_array_equal(first.lengths, second.lengths)
    past = np.arange(10)[:, None] >= first.lengths
    assert past.any()
    assert not first.d_output[past].any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_denormal_data(dtype):
    data = load("cases").make_data(make_case(denormal=True, initial=True, dtype=dtype))
    for value in (data.x, data.d_output, *data.d_state, *data.state):
        assert value.dtype == dtype
        assert (np.abs(value) < np.finfo(dtype).smallest_normal).all()
        assert np.count_nonzero(value) > value.size * 0.99


def test_unknown_names_are_told():
    cases = load("cases")
    chosen = [c.name for c in cases.select(["classifier", "float64", "classifier"])]
    assert chosen == ["classifier", "reviews_f64", "emotion_f64", "classifier_f64"]
    with pytest.raises(ValueError, match="no case nonsense"):
        cases.select(["classifier", "nonsense"])
    with pytest.raises(ValueError, match="no extra nonsense"):
        load("extras").select("ragged,nonsense")


def test_every_peer_and_extra_has_a_module():
    for name in load("contest").PEERS:
        assert (BENCH / "peers" / f"{name}_peer.py").is_file()
    for name in load("extras").NAMES:
        assert (BENCH / "extras" / f"{name}.py").is_file()


def test_two_libraries_that_disagree():
    disagreement = load("contest").disagreement
    mine = {"output": [10.0, 1.0], "h_n": [1.0, 0.5]}
    assert disagreement(mine, {"output": [10.0, 1.001]}, 2e-3) == ""
    assert disagreement(mine, {"output": [10.0, 1.1]}, 2e-3) == "output"
    assert disagreement(mine, {"output": [10.0, float("nan")]}, 2e-3) == "output"


def test_ratios_are_taken_pair_by_pair():
    rows = [{"peer": "pylstm", "samples": [1.0, 2.0, 4.0]}, {"peer": "other", "samples": [3.0, 4.0, 8.0]}]
    ours, other = load("contest").finish(rows, 3)
    assert ours["ratio"] == 1
    assert (other["median"], other["ratio"]) == (4, 2)


@pytest.mark.parametrize("options", [{"layers": 2, "bidirectional": True}, {"cell": "gru", "ragged": True}])
def test_a_contest(options):
    """Two processes, the protocol, and the check that they computed the same."""
    contest = load("contest")
    case = make_case(T=6, N=3, I=4, H=5, **options)
    rows = contest.compete([contest.Entry(peer, case, True, 1) for peer in ("pylstm", "reference")], 2)
    assert [row.get("error") for row in rows] == [None, None]
    assert all(len(row["samples"]) == 2 and row["median"] > 0 for row in rows)
    assert rows[0]["prediction"]["cycles"] > 0


WORKER = """
import json, sys
sys.path.insert(0, sys.argv[1])
import worker
from cases import Case, make_data
asked = json.loads(sys.argv[2])
worker.tell(asked["case"]["cell"], worker.Cell(*asked["cell"]))
data = make_data(Case(**asked["case"]))
print(json.dumps([len(data.d_state), list(map(len, data.weights.values())), [m for m in sys.modules if "pylstm" in m]]))
"""


@pytest.mark.parametrize(("cell", "gates", "states"), [("lstm", 4, 2), ("gru", 3, 1), ("rnn", 1, 1)])
def test_a_worker_is_told_of_the_cell_and_holds_no_second_library(cell, gates, states):
    asked = json.dumps(load("contest").told(make_case(cell=cell, H=5)))
    done = subprocess.run([sys.executable, "-s", "-c", WORKER, str(BENCH), asked], capture_output=True, text=True,
                          check=True, cwd="/")  # fmt: skip
    assert json.loads(done.stdout) == [states, [gates * 5] * 4, []]


def test_a_result_survives_its_file(tmp_path):
    results = load("results")
    record = results.record_of(make_case(), "inference", 2, [{"peer": "pylstm", "samples": [1.0], "median": 1 / 3}])
    document = results.new()
    results.add(document["found"], record)
    results.add(document["found"], record | {"mode": "training"})
    results.add(document["found"], record | {"speed": 1.0})  # in the place of the first
    results.save(tmp_path / "new" / "result.json", document)
    again = results.load(tmp_path / "new" / "result.json")
    assert [r["mode"] for r in again["found"]] == ["inference", "training"]
    assert again["found"][0]["speed"] == 1
    assert again["found"][0]["rows"][0]["median"] == 0.33333
    assert results.case_of(again["found"][0]) == make_case()


def made_of(results, name, ratios):
    """A document of one run, in which a peer takes so many times as long."""
    document = results.new() | {"runs": [{"date": name}], "versions": {"torch": name}}
    for mode, ratio in ratios.items():
        rows = [{"peer": peer, "median": value, "ratio": value} for peer, value in (("pylstm", 1.0), ("torch", ratio))]
        document["found"].append(results.record_of(make_case(), mode, 2, rows) | {"run": 0})
    return document


@pytest.mark.parametrize(
    ("ratios", "kept"), [([3.0, 1.0, 2.0], 2), ([1.5, 1.0, 2.0], 0), ([4.0, 2.0, 3.0, 1.0], 1), ([1.0], 0)]
)
def test_of_several_runs_the_record_in_the_middle_is_kept(ratios, kept):
    results, middle = load("results"), load("middle")
    documents = [made_of(results, str(i), {"inference": ratio, "training": 2.0}) for i, ratio in enumerate(ratios)]
    documents[-1]["found"].append(documents[-1]["found"][0] | {"mode": "neither"})  # what one run alone has
    made = middle.middle(documents)
    assert [record["mode"] for record in made["found"]] == ["inference", "training"] + ["neither"] * (len(ratios) == 1)
    record = made["found"][0]
    assert middle.ratio(record) == ratios[kept]
    assert made["runs"][record["run"]] == documents[kept]["runs"][0]
    text = middle.lines(documents, made)
    assert text[0].endswith("inference: " + ", ".join(f"{ratio:.2f}" for ratio in ratios))
    assert [record["run"] for document in documents for record in document["found"][:2]] == [0] * 2 * len(ratios)


def test_calibration_names_how_it_was_made():
    calibrate = load("calibrate")
    with calibrate.Machine(1) as machine:
        assert machine.how
        now = machine.now()
        assert now is None or (now[0] > 0 and now[1] == 0)
    assert set(calibrate.cache_bytes()) == {"l1", "l2", "l3"}


def test_documents_show_the_committed_results():
    table = load("table")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert table.blocks_in(text), "README.md has lost the block of bench/table.py"
    for page in table.PAGES:
        text = page.read_text(encoding="utf-8")
        assert text == table.renewed(text)


def test_committed_results_are_complete():
    """Every case and mode in one of them, and the machine they come from; nothing that leads to a certain machine's
    user."""
    found = {"cases": set(), "models.cases": set()}
    for path in (BENCH / "results").glob("*.json"):
        document = json.loads(path.read_text(encoding="utf-8"))
        kind = "models.cases" if load("results").is_model(document["found"][0]) else "cases"
        found[kind] |= {(record["case"]["name"], record["mode"]) for record in document["found"]}
        assert {"cpu", "cores", "caches", "isa"} <= document["machine"].keys()
        assert "/" not in document["machine"]["cpu"]
        for record in document["found"]:  # a field that came later has its default
            case = dataclasses.asdict(load("results").case_of(record))
            assert {name: case[name] for name in record["case"]} == record["case"]
    for kind, seen in found.items():
        assert seen >= {(case.name, mode) for case in load(kind).CASES for mode in case.modes}
