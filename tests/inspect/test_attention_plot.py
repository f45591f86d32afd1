"""The picture of attention shows the weights of each pair of words, whatever their script."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import pylstm

WEIGHTS = np.array([[0.9, 0.1, 0.0, 0.0], [0.2, 0.5, 0.3, 0.0], [0.0, 0.1, 0.9, 0.0]])


def words_of(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def test_every_weight_stands_at_its_words(plt, tmp_path):  # noqa: ARG001
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = pylstm.plot_attention(
            WEIGHTS, ["good", "day", "$ !"], ["guten", "Tag"], title="one", path=tmp_path / "a.png"
        )
    assert (tmp_path / "a.png").stat().st_size > 4_000
    ax = figure.axes[0]
    np.testing.assert_array_equal(ax.images[0].get_array(), WEIGHTS[:2, :3])  # without what is padding
    assert ax.images[0].get_clim() == (0, 1)
    assert words_of(ax.xaxis) == ["good", "day", r"\$ !"]
    assert words_of(ax.yaxis) == ["guten", "Tag"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("source", "target")


def test_of_a_layer(plt):  # noqa: ARG001
    attention = pylstm.Attention(4, 4, seed=0)
    rng = np.random.default_rng(0)
    _, weights = attention(rng.standard_normal((2, 3, 4)), rng.standard_normal((2, 5, 4)), lengths=[5, 2])
    figure = pylstm.plot_attention(weights[1], ["a", "b"], [1, 2, 3])
    np.testing.assert_array_equal(figure.axes[0].images[0].get_array(), weights[1, :, :2])
    assert words_of(figure.axes[0].yaxis) == ["1", "2", "3"]


def test_chinese_is_drawn_with_a_font_that_has_it(plt, chinese, tmp_path):  # noqa: ARG001
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a missing glyph is a warning of matplotlib's
        figure = pylstm.plot_attention(
            WEIGHTS, list("好学习天"), ["a", "b", "c"], font=chinese, title="天地", path=tmp_path / "a.png"
        )
    assert words_of(figure.axes[0].xaxis) == list("好学习天")


def test_an_installed_font_is_found(plt, chinese, only_latin):  # noqa: ARG001
    from matplotlib import font_manager

    font_manager.fontManager.addfont(chinese)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = pylstm.plot_attention(WEIGHTS, list("好学习天"), ["a", "b", "c"])
        figure.canvas.draw()
    assert figure.axes[0].get_xticklabels()[0].get_fontname() == "A few boxes"


def test_without_a_font_words_are_numbered_and_a_warning_says_what_to_install(plt, only_latin):  # noqa: ARG001
    with pytest.warns(UserWarning, match="words are numbered: install one .*fonts-noto-cjk"):
        figure = pylstm.plot_attention(WEIGHTS, list("好学习天"), ["a", "b", "c"], title="天地")
    assert words_of(figure.axes[0].xaxis) == ["0", "1", "2", "3"]


def test_a_font_of_boxes_for_every_character_is_none(plt, chinese, only_latin):  # noqa: ARG001
    """One comes with matplotlib 3.11: pictures were all boxes, digits and Latin letters, too."""
    from matplotlib import font_manager

    only_latin.append(font_manager.FontEntry(fname=chinese, name="Last Resort High-Efficiency"))
    with pytest.warns(UserWarning, match="words are numbered"):
        pylstm.plot_attention(WEIGHTS, list("好学习天"), ["a", "b", "c"])


@pytest.mark.parametrize(
    ("arguments", "options", "error", "match"),
    [
        ((WEIGHTS[None], "abcd", "abc"), {}, ValueError, "weights must be numbers"),
        (("ab", ["a"], ["b"]), {}, ValueError, "weights must be numbers"),
        ((WEIGHTS, "abcd", ["a", "b", "c"]), {}, TypeError, r"source must be a list of words.*list\(source\)"),
        ((WEIGHTS, ["a"], {"a", "b"}), {}, TypeError, "target must be a list"),
        ((WEIGHTS, ["a"] * 5, ["b"]), {}, ValueError, "source must be 1 to 4"),
        ((WEIGHTS, ["a"], []), {}, ValueError, "target must be 1 to 3"),
        ((WEIGHTS[:0], ["a"], []), {}, ValueError, "weights must be of one word and one step at least"),
        ((WEIGHTS, ["a"], ["b"]), {"title": 3}, TypeError, "title"),
        ((WEIGHTS, ["a"], ["b"]), {"font": "no such font"}, ValueError, "font"),
    ],
)
def test_wrong_arguments(plt, arguments, options, error, match):  # noqa: ARG001
    with pytest.raises(error, match=match):
        pylstm.plot_attention(*arguments, **options)
