"""The bench of whole models: data, limits, parts of the time, and that libraries compute the same. No timing."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import math

import numpy as np
import pytest

from support.bench import BENCH, load, needs_bench

pytestmark = needs_bench


def make_case(**changes):
    options = {"name": "test", "vocabulary": 50, "E": 6, "H": 5, "T": 9, "N": 4, "C": 50, "batches": 3}
    return load("models.cases").ModelCase(**options | {"per_step": True, "shortest": 2} | changes)


KINDS = [
    {},
    {"layers": 2, "shortest": 0},
    {"bidirectional": True, "C": 7},
    {"per_step": False, "C": 1, "loss": "binary_cross_entropy"},
    {"vocabulary": 0, "per_step": False, "shortest": 0, "C": 3, "loss": "mse", "layers": 2},
    {"H": 8, "C": 40, "S": 7},
    {"vocabulary": 0, "bidirectional": True, "layers": 2, "T": 30, "shortest": 12, "C": 5, "loss": "ctc", "S": 6},
]
SERIES, TRANSLATOR, SPEECH = KINDS[-3:]


@pytest.mark.parametrize("options", KINDS)
def test_data_fit_the_case(options):
    data_of, case = load("models.data"), make_case(**options)
    data, again = data_of.make_data(case), data_of.make_data(case)
    assert len(data.batches) == 3
    for batch, other in zip(data.batches, again.batches, strict=True):
        np.testing.assert_array_equal(batch.x, other.x)
        assert batch.x.shape[:2] == batch.valid.shape
        assert batch.rows == batch.valid.sum()
        if case.ragged:
            assert batch.lengths.min() >= 2
            assert batch.steps == batch.lengths.max()
            assert not batch.x[~batch.valid].any()
            assert not case.vocabulary or batch.x[batch.valid].all()  # 0 is padding
        if case.per_step:
            assert 0 <= batch.y.min() <= batch.y.max() < case.C
        assert (batch.counts is not None) == (case.S > 0)
        if case.S:
            assert batch.y.shape == (case.N, batch.counts.max())
            inside = load("models.batches").within(batch.counts, batch.y.shape[1])
            assert batch.counts.min() >= 1
            assert batch.y[inside].all()  # 0 is padding, or the blank
            assert not batch.y[~inside].any()


def test_what_a_translator_reads_and_writes():
    """One step late: the beginning and the target, and the target and its end; neither is in a target."""
    translations, case = load("models.translations"), make_case(**TRANSLATOR)
    batch = load("models.data").make_data(case).batches[0]
    steps = translations.steps_of(case, batch)
    for row, count in enumerate(batch.counts):
        target = batch.y[row, :count].tolist()
        assert not {38, 39} & set(target)
        assert steps.read[row, : count + 1].tolist() == [39, *target]
        assert steps.written[row, : count + 1].tolist() == [*target, 38]
        assert steps.valid[row].tolist() == [t <= count for t in range(batch.y.shape[1] + 1)]


def test_symbols_are_as_unequal_as_words():
    drawn = load("models.data").zipf(np.random.default_rng(0), np.arange(1000), (200_000,))
    counts = np.bincount(drawn, minlength=1000)
    assert counts[0] / counts[7] == pytest.approx(8**1.2, rel=0.1)


def test_every_text_has_its_file_and_pairs():
    cases, data = load("models.cases"), load("models.data")
    assert {f"{name}_text" for name in data.FILES} == {case.name for case in cases.TEXTS}
    for case in cases.TEXTS:
        if not (data.TEXT / data.FILES[case.name.removesuffix("_text")]).is_file():
            with pytest.raises(FileNotFoundError):
                data.make_data(case)
            continue
        small = dataclasses.replace(case, batches=2, N=8, E=2, H=2)
        batches = data.make_data(small).batches
        assert [batch.x.shape[0] for batch in batches] == [8, 8]
        for batch in batches:
            assert batch.steps <= case.T
            assert batch.x.max() < case.vocabulary
            assert batch.y.max() < max(case.C, 2)
            if case.vocabulary == case.C:  # the next symbol
                both = batch.valid[:, 1:]
                assert (batch.x[:, 1:][both] == batch.y[:, :-1][both]).all()


def test_a_limit_by_hand(machine):
    """Multiply-adds count a symbol once, and Adam the rows of the table that are ever seen."""
    limits, data_of = load("models.limits"), load("models.data")
    case = make_case(shortest=0, batches=1, H=64, E=32)
    data = data_of.make_data(case)
    batch = dataclasses.replace(data.batches[0], x=np.tile([1, 2, 2, 3, 1, 1, 1, 1, 1], (4, 1)))
    data = data_of.Data(data.weights, [batch])
    assert limits.distinct(data) == 3
    assert limits.rows(data) == 36
    assert limits.input_flops(case, data) == (2 * 4 * 64 * 32 * 3, 0)
    assert limits.recurrent_flops(case, data) == 2 * 4 * 64 * 64 * 36
    assert limits.head_flops(case, data) == 2 * 64 * 50 * 36
    count = 3 * 32 + 4 * 64 * (32 + 64 + 1) + 50 * 65
    assert limits.parameters(case, data) == count
    found = limits.limit(case, True, machine, data)
    assert found.seconds == pytest.approx(sum(found.terms.values()))
    # three numbers of each parameter, half of them in each core's L2, read and written
    assert found.terms["optimizer"] == pytest.approx(2 * (3 * count * 4 / 2) / 25e9)
    assert found.terms["head"] == pytest.approx(3 * 2 * 64 * 50 * 36 / 1e12, rel=0.5)
    assert set(limits.limit(case, False, machine, data).terms) == {"embedding", "recurrent forward", "head"}


def test_input_that_is_given_needs_no_gradient(machine):
    limits = load("models.limits")
    case = make_case(**SERIES, N=512, H=64, E=64)
    data = load("models.data").make_data(case)
    first, above = limits.input_flops(case, data)
    expected = (2 * (above + limits.recurrent_flops(case, data)) + first) / 1e12
    assert limits.recurrent(case, data, machine, backward=True) == pytest.approx(expected)


def test_a_limit_of_a_translator_by_hand(machine):
    """Two embeddings, two LSTMs, the head, and the layers around the attention; all of them in the optimizer."""
    limits, case = load("models.limits"), make_case(**TRANSLATOR)
    data = load("models.data").make_data(case)
    assert limits.pairs(data) == np.mean([(b.lengths * (b.counts + 1)).sum() for b in data.batches])
    read = {int(symbol) for b in data.batches for symbol in b.x[b.valid]}
    written = {39} | {int(symbol) for b in data.batches for symbol in b.y.reshape(-1)} - {0}
    lstms = 2 * 4 * 4 * (6 + 4 + 1) + 4 * 8 * (6 + 8 + 1)
    linear = 8 * 8 + 8 * 16 + 2 * (8 * 8 + 8) + 40 * 9
    assert limits.parameters(case, data) == (len(read) + len(written)) * 6 + lstms + linear
    trained, predicted = (limits.limit(case, mode, machine, data).terms for mode in (True, False))
    assert set(trained) - set(predicted) == {"recurrent backward", "optimizer"}
    assert trained["attention"] == pytest.approx(3 * 3 * 4 * 8 * limits.pairs(data) / 1e12)
    (encoder, sources), (decoder, targets) = load("models.translations").sides(case, data)
    assert limits.rows(targets) == np.mean([(b.counts + 1).sum() for b in data.batches])
    both = limits.recurrent(encoder, sources, machine, False) + limits.recurrent(decoder, targets, machine, False)
    assert predicted["recurrent forward"] == pytest.approx(3 * both)


def test_the_loss_of_labels_without_places():
    """Of three steps of even odds, 6 of 8 paths read as the one label: 001 010 100 011 110 111."""
    batch = load("models.batches").Batch(np.zeros((1, 3, 1)), np.array([[1]]), np.array([3]), np.array([1]))
    assert load("models.losses").ctc(batch, np.zeros((1, 3, 2))) == pytest.approx(-math.log(6 / 8))


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("training", [False, True])
def test_libraries_agree(options, training):
    """pylstm against PyTorch, where that is installed; and in any case against the loss in NumPy."""
    case = make_case(**options)
    data = load("models.data").make_data(case)
    ours = load("models.pylstm_peer").Peer(case, data, training=training, threads=1)
    found = ours.check()
    untrained = load("models.pylstm_peer").Peer(case, data, training=False, threads=1)
    loss = load("models.losses").loss_of(case, data.batches[0], untrained.outputs())
    assert ours.loss == pytest.approx(loss, rel=1e-5)
    assert math.isfinite(ours.loss)
    if importlib.util.find_spec("torch") is None:
        return
    try:
        theirs = load("models.torch_peer").Peer(case, data, training=training, threads=1, compiled=False).check()
    finally:
        importlib.import_module("torch").set_flush_denormal(False)  # as the tests that follow expect
    assert found.keys() == theirs.keys()
    for name, value in found.items():
        assert value.shape == theirs[name].shape
        np.testing.assert_allclose(value, theirs[name], rtol=1e-4, atol=1e-5)
    assert not training or len(set(found["losses"])) == 3


def test_a_library_that_computes_something_else_is_told():
    case = make_case()
    data = load("models.data").make_data(case)
    worker, contest = load("worker"), load("contest")
    other = dataclasses.replace(
        data, weights=data.weights | {"head.bias": data.weights["head.bias"] + 0.1 * np.eye(50)[3]}
    )
    prints = []
    for each in (data, dataclasses.replace(other, weights={k: v.astype(np.float32) for k, v in other.weights.items()})):
        peer = load("models.pylstm_peer").Peer(case, each, training=True, threads=1)
        prints.append({name: worker.fingerprint(value) for name, value in peer.check().items()})
    assert contest.disagreement(prints[0], prints[0], case.tolerance) == ""
    assert contest.disagreement(*prints, case.tolerance)


def test_a_contest_and_the_parts_of_a_step():
    """A process with the protocol, the time of each part, and what is printed and written of it."""
    contest, program, results = load("contest"), load("end_to_end"), load("results")
    case = dataclasses.replace(load("models.cases").BY_NAME["series"], batches=2)
    rows = contest.compete([contest.Entry("pylstm", case, True, 1)], 2)
    assert rows[0].get("error") is None
    assert rows[0]["batches"] == 2
    record = results.record_of(case, "training", 1, rows)
    program.add_parts(record)
    parts = record["parts"]
    assert parts["total"] == pytest.approx(sum(value for name, value in parts.items() if name != "total"))
    assert min(parts[name] for name in ("recurrent forward", "recurrent backward", "optimizer")) > 0
    assert results.case_of(record) == case
    assert any("recurrent backward" in line for line in load("report").parts_text(record))


def test_time_belongs_to_who_asked_for_it():
    """NumPy's functions, and those of the core without a part of their own, count where they are called."""
    head, loop, embedding = [
        (f"/somewhere/pylstm/{name}.py", 1, "f") for name in ("layers/linear", "training/loop", "layers/embedding")
    ]
    wrapper, add = ("/numpy/fromnumeric.py", 2, "sum"), ("~", 0, "<method 'reduce' of 'numpy.ufunc' objects>")
    unknown, forward = [("~", 0, f"<built-in method pylstm._core.{name}>") for name in ("something", "train")]
    method = ("~", 0, "<method 'backward' of 'pylstm._core.Network' objects>")
    names = {"head": head, "loop": loop, "wrapper": wrapper, "embedding": embedding}

    def times(own, **callers):
        return 1, 1, own, own, {names[name]: (1, 1, seconds, seconds) for name, seconds in callers.items()}

    found = load("models.parts").by_part({
        head: times(1.0), loop: times(2.0), embedding: times(4.0), wrapper: times(8.0, head=6.0, loop=2.0),
        add: times(16.0, wrapper=8.0, embedding=8.0), unknown: times(32.0, embedding=32.0),
        forward: times(64.0, loop=64.0), method: times(128.0, loop=128.0),
    })  # fmt: skip
    assert found["head"] == 1 + 6 + 8 * 6 / 8
    assert found["python"] == 2 + 2 + 8 * 2 / 8
    assert found["embedding"] == 4 + 8 + 32
    assert (found["recurrent forward"], found["recurrent backward"]) == (64, 128)
    assert found["total"] == 255


def test_a_table_of_whole_models():
    results, table, report = load("results"), load("table"), load("report")
    document = results.new() | {"versions": {"pylstm": "1", "torch": "2+cpu", "keras_jax": "3 on JAX 4"}}
    for name, ratio in [("poems", 2.0), ("words", 8.0)]:
        rows = [
            {"peer": "pylstm", "samples": [], "median": 0.08, "ratio": 1.0, "batches": 8},
            {"peer": "torch", "samples": [], "median": 0.08 * ratio, "ratio": ratio, "batches": 8},
            {"peer": "keras_jax", "samples": [], "error": "out of order"},
        ]
        record = results.record_of(load("models.cases").BY_NAME[name], "training", 2, rows)
        record["limit"] = {"seconds": 0.04, "term": "head", "split": "", "terms": {"head": 0.04}}
        record["parts"] = {"head": 0.06, "python": 0.02, "total": 0.08}
        results.add(document["found"], record)
    lines = table.table(document)
    assert lines[2].startswith("| poems: Embedding(4,961, 128)")
    assert lines[2].endswith("| – | – | – | 10.0 ms | 2.00 x PyTorch | 50% |")
    assert lines[-1] == "| geometric mean | | – | | | 4.00 x | |"
    assert table.parts_table(document)[-1] == "| words, train | 7.50 (5) | 2.50 | 10.00 |"
    assert report.means(document["found"]) == ["training: 4.00 times as fast as the best peer, geometric mean"]
    text = table.block("the parts of x.json", document)
    assert table.blocks_in(f"before\n{text}\nafter")[0][1] == "the parts of x.json"


def test_tables_of_cases_with_targets_of_their_own():
    """Their shapes, and a peer that leaves them out."""
    results, table, report = load("results"), load("table"), load("report")
    document = results.new() | {"versions": {"pylstm": "1", "torch": "2+cpu"}}
    for name in ("translator", "speech"):
        rows = [
            {"peer": "pylstm", "samples": [], "median": 0.06, "ratio": 1.0, "batches": 6},
            {"peer": "torch", "samples": [], "median": 0.12, "ratio": 2.0, "batches": 6},
            {"peer": "keras_jax", "samples": [], "unsupported": "left out"},
        ]
        record = results.record_of(load("models.cases").BY_NAME[name], "inference", 1, rows)
        record["parts"] = {"attention": 0.06, "total": 0.06} if name == "translator" else {"head": 0.06, "total": 0.06}
        results.add(document["found"], record)
        assert report.row_text(rows[2], record) == "not supported: left out"
    lines = table.table(document)
    assert "8,000, 256), LSTM(128) both ways; Embedding(6,002, 256), LSTM(256), attention, Linear(6,002)" in lines[2]
    assert "80 numbers a step, 2 x LSTM(128) both ways, Linear(11) per step, CTC; T=150 N=32, ragged" in lines[3]
    assert lines[3].endswith("| 10.0 ms | 2.00 x PyTorch | – | – | – | – |")
    assert table.parts_table(document)[0] == "| case | attention | head | all |"


def test_unknown_names_are_told():
    cases = load("models.cases")
    assert [case.name for case in cases.select(["words", "zipf"])][:2] == ["words", "poems"]
    with pytest.raises(ValueError, match="no case nonsense"):
        cases.select(["poems", "nonsense"])


@pytest.mark.parametrize(
    ("given", "said"), [(["--append"], "--append needs --json"), (["--json", "."], "--json has to be a file")]
)
def test_what_cannot_be_written_is_told_before_measuring(given, said, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["end_to_end.py", *given])
    with pytest.raises(SystemExit):
        load("end_to_end").parse()
    assert said in capsys.readouterr().err


def test_every_library_has_a_module():
    for name in load("models").PEERS:
        assert (BENCH / "models" / f"{name}_peer.py").is_file()
