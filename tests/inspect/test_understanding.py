"""Looking inside: traces of gates and states, saliency, pictures."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm
from support.problems import as_state, flat, problem

LENGTHS = [4, 6, 0]


def options_of(variant):
    if variant.options.get("coupled"):
        return "igohc"  # there is no f of its own
    return {"LSTM": "ifgohc", "GRU": "rznh", "RNN": "h"}[variant.cls]


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_a_trace_is_what_a_call_computes(module, variant, batch_first, lengths):
    layer = variant.make(module, 3, 6, num_layers=2, bidirectional=True, batch_first=batch_first,
                         dtype=np.float64, seed=0)  # fmt: skip
    case = problem(layer, 6, 3, 1, state=True)
    state = as_state(layer, case.states)
    output, final = layer(case.x, state, lengths=lengths)
    trace = layer.trace(case.x, state, lengths=lengths)
    suffixes = ("_l0", "_l0_reverse", "_l1", "_l1_reverse")
    assert set(trace) == {letter + suffix for letter in options_of(variant) for suffix in suffixes}
    top = np.concatenate([trace["h_l1"], trace["h_l1_reverse"]], axis=2)
    np.testing.assert_allclose(top, output, rtol=1e-9, atol=1e-12)
    time_major = {k: v.swapaxes(0, 1) if batch_first else v for k, v in trace.items()}
    for letter, states in zip("hc", flat(final), strict=False):
        for k, suffix in enumerate(suffixes):
            for n, length in enumerate(lengths or [6, 6, 6]):
                if length:
                    last = 0 if "reverse" in suffix else length - 1
                    np.testing.assert_allclose(time_major[letter + suffix][last, n], states[k, n], rtol=1e-9)
                assert (time_major[letter + suffix][length:, n] == 0).all()
    for letter in "ifozr":  # gates lie between 0 and 1
        for suffix in suffixes:
            if letter + suffix in trace:
                values = time_major[letter + suffix][:4, 0]
                assert ((values > 0) & (values < 1)).all()


def test_the_equations_hold_between_the_arrays_of_a_trace():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, 2, 3))
    lstm = pylstm.LSTM(3, 4, dtype=np.float64, seed=0).trace(x)
    for step in range(1, 7):
        c = lstm["f_l0"][step] * lstm["c_l0"][step - 1] + lstm["i_l0"][step] * lstm["g_l0"][step]
        np.testing.assert_allclose(lstm["c_l0"][step], c, rtol=1e-12)
        np.testing.assert_allclose(lstm["h_l0"][step], lstm["o_l0"][step] * np.tanh(c), rtol=1e-12)
    gru = pylstm.GRU(3, 4, dtype=np.float64, seed=0).trace(x)
    for step in range(1, 7):
        z = gru["z_l0"][step]
        h = (1 - z) * gru["n_l0"][step] + z * gru["h_l0"][step - 1]
        np.testing.assert_allclose(gru["h_l0"][step], h, rtol=1e-12)


def test_a_trace_of_one_sequence_and_of_none():
    layer = pylstm.LSTM(3, 4, seed=0)
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    one, batch = layer.trace(x), layer.trace(x[:, None])
    for name, value in one.items():
        assert value.shape == (5, 4)
        assert value.dtype == np.float32
        np.testing.assert_array_equal(value, batch[name][:, 0])
    none = layer.trace(x[:0])
    assert list(none) == list(one)
    assert all(value.shape == (0, 4) for value in none.values())
    with pytest.raises(ValueError, match="x must have shape"):
        layer.trace(np.zeros((5, 2)))


def classifier(dropout=0.0):
    return pylstm.Sequential(
        [
            pylstm.Embedding(9, 5, dtype=np.float64), pylstm.Dropout(dropout),
            pylstm.LSTM(5, 6, 2, batch_first=True, dropout=dropout, dtype=np.float64), pylstm.MeanOverTime(),
            pylstm.Linear(6, 3, dtype=np.float64),
        ],
        seed=0,
    )  # fmt: skip


def test_saliency_is_the_norm_of_the_gradient():
    model = classifier()
    ids = np.random.default_rng(0).integers(0, 9, (3, 6))
    scores = model.saliency(ids, target=1, lengths=LENGTHS)
    assert scores.shape == (3, 6)
    rest = pylstm.Sequential(model.layers[1:])
    vectors = model.layers[0](ids)
    numeric = np.zeros_like(vectors)
    for at in np.ndindex(*vectors.shape):
        sides = []
        for step in (1e-6, -1e-6):
            moved = vectors.copy()
            moved[at] += step
            sides.append(rest(moved, lengths=LENGTHS)[at[0], 1])
        numeric[at] = (sides[0] - sides[1]) / 2e-6
    np.testing.assert_allclose(scores, np.sqrt((numeric**2).sum(axis=-1)), rtol=1e-5, atol=1e-9)
    assert (scores[0, 4:] == 0).all()
    np.testing.assert_allclose(model.saliency(ids[1], target=1), scores[1], rtol=1e-10)
    signed = model.saliency(ids, target=1, lengths=LENGTHS, signed=True)
    np.testing.assert_allclose(signed, (numeric * vectors).sum(axis=-1), rtol=1e-5, atol=1e-9)
    columns = pylstm.Sequential([pylstm.Columns(model.layers[:1]), *model.layers[1:]])
    np.testing.assert_allclose(columns.saliency(ids[1][:, None], target=1), scores[1], rtol=1e-10)


def test_saliency_drops_nothing_and_chooses_the_largest_output():
    ids = np.random.default_rng(1).integers(0, 9, (2, 6))
    plain, dropping = classifier(), classifier(0.5)
    dropping.load_state_dict(plain.params)
    np.testing.assert_allclose(dropping.saliency(ids), plain.saliency(ids), rtol=1e-10)
    for row, best in enumerate(plain(ids).argmax(axis=-1)):
        np.testing.assert_allclose(plain.saliency(ids)[row], plain.saliency(ids, target=int(best))[row], rtol=1e-10)
    assert dropping.layers[2].dropout == 0.5
    with pytest.raises(ValueError, match="one output per sequence"):
        pylstm.Sequential(classifier().layers[:3]).saliency(ids)


# ---- pictures --------------------------------------------------------------------------------------------------------


def test_plot_trace(plt, tmp_path):  # noqa: ARG001
    layer = pylstm.LSTM(3, 40, bidirectional=True, seed=0)
    x = np.random.default_rng(0).standard_normal((5, 3))
    trace = layer.trace(x)
    figure = pylstm.plot_trace(trace, list("ab c\n"), units=7, saliency=np.arange(5), path=tmp_path / "t.png")
    assert (tmp_path / "t.png").stat().st_size > 10_000
    images = [ax.images[0].get_array() for ax in figure.axes if ax.images]
    assert len([image for image in images if image.shape == (7, 5)]) == 12  # of both directions
    for ax in figure.axes[12:14]:  # the last row
        assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b", "␣", "c", "⏎"]
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert any("forget gate" in title for title in titles)
    ranges = {ax.get_title(loc="left")[0]: ax.images[0].get_clim() for ax in figure.axes if ax.images}
    assert {letter for letter, limits in ranges.items() if limits == (0, 1)} == set("ifo")
    assert {letter for letter, limits in ranges.items() if limits == (-1, 1)} == set("ghc")
    figure = pylstm.plot_trace(trace, names=["c_l0_reverse"], units=100)
    shown = next(ax.images[0].get_array() for ax in figure.axes if ax.images)
    np.testing.assert_allclose(np.sort(np.asarray(shown).ravel()), np.sort(trace["c_l0_reverse"].ravel()), rtol=1e-6)
    with pytest.raises(ValueError, match="5 texts"):
        pylstm.plot_trace(trace, ["a"])
    with pytest.raises(ValueError, match="one sequence"):
        pylstm.plot_trace(layer.trace(x[:, None]))


def test_letters_of_every_cell(plt, variant):  # noqa: ARG001
    layer = variant.make(pylstm, 3, 6, seed=0)
    trace = layer.trace(10 * np.random.default_rng(0).standard_normal((5, 3)))
    figure = pylstm.plot_trace(trace, units=6)
    titles = [ax.get_title(loc="left") for ax in figure.axes if ax.images]
    limits = {ax.get_title(loc="left")[0]: ax.images[0].get_clim() for ax in figure.axes if ax.images}
    assert all(len(title.split()) > 2 for title in titles)
    assert [title for title in titles if "gate" in title] == [t for t in titles if limits[t[0]] == (0, 1)]
    for name, values in trace.items():
        low, high = limits[name[0]]
        assert low <= values.min() <= values.max() <= high
    own = {name: values for name, values in trace.items() if name.startswith("h")}
    figure = pylstm.plot_trace({**own, "mine_l0": np.full((5, 2), 7.0)})
    assert [ax.get_title(loc="left") for ax in figure.axes if ax.images] == ["h  output  (l0)", "mine    (l0)"]


def test_without_matplotlib_the_message_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'pylstm\[train\]'"):
        pylstm.plot_history({"loss": [1.0]})


@pytest.mark.parametrize("lengths", [None, [5, 2, 4]])
@pytest.mark.parametrize("signed", [False, True])
def test_saliency_of_steps_in_chains_within_a_chain(lengths, signed):
    symbols = np.random.default_rng(0).integers(1, 7, (3, 5))
    flat = pylstm.Sequential(
        [pylstm.Embedding(7, 3), pylstm.LSTM(3, 4, batch_first=True), pylstm.MaxOverTime(), pylstm.Linear(4, 2)], seed=0
    )
    want = flat.saliency(symbols, 0, lengths=lengths, signed=signed)
    assert want.shape == (3, 5)
    for nested in (
        pylstm.Sequential([flat]),
        pylstm.Sequential([flat[:2], flat[2], flat[3]]),
        pylstm.Sequential([flat[0], pylstm.Sequential([flat[1:3], flat[3]])]),
    ):
        assert nested.saliency(symbols, 0, lengths=lengths, signed=signed).tobytes() == want.tobytes()
