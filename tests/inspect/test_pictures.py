"""Pictures say what they show: figures by name, units by number, directions, inputs, and texts that a font has."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import pylstm

HISTORY = {
    "loss": [3.0, 2.0, 1.0], "accuracy": [0.1, 0.2, 0.3], "val_loss": [3.0, 1.0, 2.0],
    "val_accuracy": [0.0, 0.2, 0.1], "lr": [0.1, 0.01, 0.001], "seconds": [1, 1, 1],
}  # fmt: skip


def legends(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_a_history_is_named(plt, tmp_path):  # noqa: ARG001
    figure = pylstm.plot_history(HISTORY, tmp_path / "h.png")
    assert (tmp_path / "h.png").stat().st_size > 5_000
    assert [ax.get_title() for ax in figure.axes] == ["loss", "accuracy", "learning rate"]
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "accuracy", "lr"]
    assert {ax.get_xlabel() for ax in figure.axes} == {"epoch"}
    assert legends(figure.axes[0]) == ["loss (training)", "val_loss (validation)"]
    assert legends(figure.axes[1]) == ["accuracy (training)", "val_accuracy (validation)"]
    assert legends(figure.axes[2]) == ["lr"]
    for ax, keys in zip(figure.axes, (("loss", "val_loss"), ("accuracy", "val_accuracy"), ("lr",)), strict=True):
        lines = [line for line in ax.lines if len(line.get_xdata()) == 3]
        assert len(lines) == len(keys)
        for line, key in zip(lines, keys, strict=True):
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
            np.testing.assert_array_equal(line.get_ydata(), HISTORY[key])
    assert figure.axes[2].get_yscale() == "log"
    assert [ax.texts[0].get_text() for ax in figure.axes[:2]] == ["best 1.000\nepoch 2", "best 0.200\nepoch 2"]


def test_a_history_without_validation_and_with_figures_of_its_own(plt):  # noqa: ARG001
    def spread(y, targets, lengths):  # noqa: ARG001
        return float(np.std(y))

    x = np.random.default_rng(0).standard_normal((30, 3)).astype(np.float32)
    model = pylstm.Sequential([pylstm.Linear(3, 1, seed=0)])
    options = {"loss": "mse", "optimizer": pylstm.Adam(), "epochs": 3, "verbose": 0, "metrics": [spread]}
    history = model.fit(x, x[:, :1], **options)
    figure = pylstm.plot_history(history)
    assert [ax.get_title() for ax in figure.axes] == ["loss", "spread", "learning rate"]
    assert legends(figure.axes[1]) == ["spread (training)"]
    assert figure.axes[2].get_yscale() == "linear"
    both = pylstm.plot_history(model.fit(x, x[:, :1], validation_data=(x, x[:, :1]), **options))
    assert legends(both.axes[1]) == ["spread (training)", "val_spread (validation)"]
    assert not both.axes[1].texts  # nobody has said whether more of it is better


def test_odd_histories(plt):  # noqa: ARG001
    nan = float("nan")
    figure = pylstm.plot_history({"loss": [1.0, nan], "val_loss": [nan, 2.0], "val_f1": [0.5, 0.75]})
    assert [ax.get_title() for ax in figure.axes] == ["loss", "f1"]
    assert [ax.texts[0].get_text() for ax in figure.axes] == ["best 2.000\nepoch 2", "best 0.750\nepoch 2"]
    assert not pylstm.plot_history({"val_loss": [nan]}).axes[0].texts
    many = pylstm.plot_history({f"figure{k}": [1.0] for k in range(6)})
    assert len(many.axes) == 6
    for wrong, error, text in (
        ({}, ValueError, "no epochs"),
        ({"loss": [], "lr": []}, ValueError, "no epochs"),
        ({"loss": ["a"]}, TypeError, "'loss' has not"),
        ({"loss": 1.0}, TypeError, "'loss'"),
        ({1: [1.0]}, TypeError, "1 has not"),
        ([1.0], TypeError, "a mapping, got list"),
    ):
        with pytest.raises(error, match=text):
            pylstm.plot_history(wrong)


# ---- traces ----------------------------------------------------------------------------------------------------------


def traced(bidirectional=True, size=9):
    layer = pylstm.LSTM(3, size, bidirectional=bidirectional, seed=0)
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    return x, layer.trace(x)


def strips(figure):
    return {ax.get_title(loc="left"): ax for ax in figure.axes if ax.images}


def numbers(ax):
    return [int(label.get_text()) for label in ax.get_yticklabels()]


def test_no_step_is_a_fraction(plt):  # noqa: ARG001
    layer = pylstm.LSTM(3, 2, bidirectional=True, seed=0)
    figure = pylstm.plot_trace(layer.trace(np.ones((20, 3), np.float32)))
    pictures = [ax for ax in figure.axes if ax.get_xlabel() == "step"]
    pictures += pylstm.plot_saliency(np.ones(20)).axes + pylstm.plot_saliency(np.ones((20, 3))).axes[:1]
    assert len(pictures) == 4
    for ax in pictures:
        ticks = ax.get_xticks()
        assert len(ticks) > 2
        assert (ticks == np.round(ticks)).all()


def test_a_path_in_the_place_of_texts_is_told_its_own(plt):  # noqa: ARG001
    for draw, what in ((pylstm.plot_trace, traced()[1]), (pylstm.plot_saliency, np.ones(5))):
        with pytest.raises(
            ValueError, match=r"tokens must be 5 texts.*got .one.png., a single one: a picture's file is path="
        ):
            draw(what, "one.png")


def test_both_directions_and_the_numbers_of_the_units(plt):  # noqa: ARG001
    _, trace = traced()
    shown = strips(pylstm.plot_trace(trace, units=4))
    assert len(shown) == len(trace) == 12
    for name, array in trace.items():
        letter, _, where = name.partition("_")
        (ax,) = [ax for title, ax in shown.items() if title[0] == letter and title.endswith(f"({where})")]
        assert ax.get_ylabel() == "unit"
        assert len(numbers(ax)) == 4
        np.testing.assert_array_equal(ax.images[0].get_array(), array[:, numbers(ax)].T)  # each row is its unit
    forward, reverse = (next(ax for title, ax in shown.items() if title.endswith(end)) for end in ("(l0)", "_reverse)"))
    assert numbers(forward) != numbers(reverse)  # each direction has units of its own
    for side in ("l0", "l0_reverse"):
        moving = np.argsort(-trace[f"c_{side}"].std(axis=0))[:4]
        assert set(numbers(next(ax for title, ax in shown.items() if title.endswith(f"({side})")))) == set(moving)
    one = pylstm.plot_trace(traced(False)[1], names=["i_l0", "c_l0"])
    assert len({round(ax.get_position().x0, 3) for ax in strips(one).values()}) == 1
    assert len({round(ax.get_position().x0, 3) for ax in shown.values()}) == 2
    wide = pylstm.plot_trace(traced(False, 90)[1], names=["h_l0"], units=90)
    assert all(len(numbers(ax)) <= 24 for ax in strips(wide).values())


def test_the_input_stands_above_the_gates(plt):  # noqa: ARG001
    x, trace = traced()
    trace = {name: array for name, array in trace.items() if name[0] in "ic"}
    figure = pylstm.plot_trace(trace, x=x, features=["wind", "sun", "$"], saliency=np.ones(5))
    shown = [ax for ax in figure.axes if ax.images and ax.get_title(loc="left") == "x  input"]
    assert len(shown) == 2
    for ax in shown:
        np.testing.assert_array_equal(ax.images[0].get_array(), x.T)
        assert [label.get_text() for label in ax.get_yticklabels()] == ["wind", "sun", r"\$"]
        assert ax.get_ylabel() == "feature"
    figure.canvas.draw()
    gates = [ax for title, ax in strips(figure).items() if "gate" in title]
    assert gates
    assert all(ax.get_position().y1 < shown[0].get_position().y0 for ax in gates)
    few = strips(pylstm.plot_trace(trace, x=x * [1, 0, 5], units=2))["x  input"]
    assert numbers(few) == [0, 2]  # those that move most
    flat = strips(pylstm.plot_trace(trace, x=x[:, 0]))["x  input"]
    np.testing.assert_array_equal(flat.images[0].get_array(), x[:, :1].T)
    pylstm.plot_trace(trace, x=np.full((5, 2), np.nan))
    symbols = pylstm.plot_trace(trace, x=[4, 2, 2, 7, 1])
    assert "x  input" not in strips(symbols)
    bottom = max(strips(symbols).values(), key=lambda ax: -ax.get_position().y0)
    assert [label.get_text() for label in bottom.get_xticklabels()] == ["4", "2", "2", "7", "1"]


@pytest.mark.parametrize(("options", "text"), [
    ({"x": np.zeros((4, 3))}, "x must be the 5 steps"), ({"x": np.zeros((5, 3, 1))}, "x must be the 5 steps"),
    ({"x": ["a"] * 5}, "x must be"), ({"x": np.zeros((5, 3)), "features": ["a"]}, "features must be 3 texts"),
    ({"features": ["a"]}, "features must be 0 texts"), ({"font": "no such font"}, "font must be the file of a font"),
])  # fmt: skip
def test_wrong_arguments_of_a_trace(plt, options, text):  # noqa: ARG001
    with pytest.raises(ValueError, match=text):
        pylstm.plot_trace({"h_l0": np.zeros((5, 2))}, **options)


# ---- fonts -----------------------------------------------------------------------------------------------------------


def drawn(figure):
    """Drawing warns of every character that the font does not have."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.canvas.draw()
    return [label.get_text() for ax in figure.axes for label in ax.get_xticklabels() if ax.images]


def test_a_font_that_has_the_characters_is_found(plt, chinese, only_latin):  # noqa: ARG001
    from matplotlib import font_manager

    trace, tokens = {"h_l0": traced()[1]["h_l0"]}, list("好好学习天")
    with pytest.warns(UserWarning, match="no font has these characters, so steps and features are numbered"):
        figure = pylstm.plot_trace(trace, tokens)
    assert "好" not in drawn(figure)
    font_manager.fontManager.addfont(chinese)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = pylstm.plot_trace(trace, tokens)
        assert {"好", "学", "习", "天"} <= set(drawn(figure))
        pylstm.plot_trace(trace, list("äé␣ß…")).canvas.draw()
    with pytest.warns(UserWarning, match="no font has these characters"):
        pylstm.plot_trace(trace, list("好好呀习天"))  # one that the font does not have


def test_a_font_that_is_given(plt, chinese, only_latin):  # noqa: ARG001
    trace, tokens = {"h_l0": traced()[1]["h_l0"]}, list("好好学习天")
    assert "好" in drawn(pylstm.plot_trace(trace, tokens, font=chinese))
    assert "学" in drawn(pylstm.plot_trace(trace, tokens, font="A few boxes"))


def test_texts_in_arrays():
    plt = pytest.importorskip("matplotlib.pyplot")
    lstm = pylstm.LSTM(2, 3, seed=0)
    x = np.random.default_rng(0).standard_normal((4, 2)).astype(np.float32)
    for figure in (
        pylstm.plot_trace(lstm.trace(x), tokens=np.array(list("abcd")), x=x, features=np.array(["p", "q"])),
        pylstm.plot_saliency(x, tokens=np.array(list("abcd")), features=np.array(["p", "q"])),
    ):
        texts = {text.get_text() for ax in figure.axes for text in (*ax.get_xticklabels(), *ax.get_yticklabels())}
        assert {"a", "d", "p", "q"} <= texts
        plt.close(figure)
