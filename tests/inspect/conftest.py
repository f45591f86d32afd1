"""What tests of pictures share."""

from __future__ import annotations

import pytest


@pytest.fixture
def plt():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


@pytest.fixture
def chinese(tmp_path):
    """The file of a font that has boxes for a few characters, and no name that says so."""
    pytest.importorskip("fontTools")
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for point in ((0, 800), (800, 800), (800, 0)):
        pen.lineTo(point)
    pen.closePath()
    box, characters = pen.glyph(), "好学习天地"
    names = [".notdef", *(f"u{ord(char):04X}" for char in characters)]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(char): name for char, name in zip(characters, names[1:], strict=True)})
    font.setupGlyf(dict.fromkeys(names, box))
    font.setupHorizontalMetrics(dict.fromkeys(names, (1000, 0)))
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": "A few boxes", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(tmp_path / "boxes.ttf")
    return str(tmp_path / "boxes.ttf")


@pytest.fixture
def only_latin(monkeypatch):
    """A machine whose fonts have no Chinese characters."""
    from matplotlib import font_manager

    here = [entry for entry in font_manager.fontManager.ttflist if "DejaVu" in entry.name]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", here)
    return here
