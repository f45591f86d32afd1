"""Pictures of a result: times against the other libraries, shares of the limit, and growth with the sizes.

python bench/plots.py RESULT.json DIR
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullLocator

import growth
import results
from results import Document, Record

# Colours that people with any colour vision tell apart (Okabe and Ito); a library keeps its own in every picture.
COLOURS = {
    "pylstm": "#D55E00",
    "torch": "#0072B2",
    "onnxruntime": "#56B4E9",
    "openvino": "#009E73",
    "keras": "#E69F00",
    "jax": "#CC79A7",
    "reference": "#999999",
}
TERMS = {"compute": "#0072B2", "weights": "#E69F00", "memory": "#009E73", "latency": "#CC79A7"}
MODES = ["inference", "training"]
AXES = {"T": "steps T", "N": "sequences N", "H": "hidden units H", "threads": "threads"}
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")


def by_mode(document: Document, mode: str) -> list[Record]:
    return [r for r in document["found"] if r["mode"] == mode and results.row_of(r, "pylstm")]


def draw_peers(document: Document, path: Path) -> None:
    """How many times longer than pylstm every other library takes. NumPy's reference is no competitor: left out."""
    names = [n for n in COLOURS if n not in results.OURS]
    most = max(len(by_mode(document, mode)) for mode in MODES)
    figure, panels = plt.subplots(1, 2, figsize=(13, 1.5 + 0.62 * most), layout="constrained")
    for panel, mode in zip(panels, MODES, strict=True):
        records = by_mode(document, mode)
        for place, record in enumerate(records):
            timed = [(n, row) for n in names if (row := results.row_of(record, n))]
            height = 0.84 / max(len(timed), 1)
            for k, (name, row) in enumerate(timed):
                y = place + (k - (len(timed) - 1) / 2) * height
                panel.barh(y, row["ratio"] - 1, height * 0.92, left=1, color=COLOURS[name])
                panel.annotate(
                    f"{row['ratio']:.3g}", (max(row["ratio"], 1), y), (3, 0), textcoords="offset points",
                    va="center", fontsize=7, color="#444444",
                )  # fmt: skip
        panel.axvline(1, color=COLOURS["pylstm"], linewidth=2)
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(PLAIN)
        panel.set_xlim(left=0.8)
        finish_panel(panel, records, f"{mode}: time / pylstm's time")
    handles = [Patch(color=COLOURS[name]) for name in names]
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), frameon=False)
    save(figure, path)


def draw_shares(document: Document, path: Path) -> None:
    """pylstm's share of the limit; the colour says what sets the limit."""
    most = max(len(by_mode(document, mode)) for mode in MODES)
    figure, panels = plt.subplots(1, 2, figsize=(13, 1.5 + 0.34 * most), layout="constrained")
    for panel, mode in zip(panels, MODES, strict=True):
        records = [r for r in by_mode(document, mode) if "limit" in r]
        for place, record in enumerate(records):
            value = 100 * (results.share(record) or 0)
            panel.barh(place, value, 0.7, color=TERMS[record["limit"]["term"]])
            panel.text(value + 1, place, f"{value:.0f} %", va="center", fontsize=8)
        panel.axvline(100, color="black", linewidth=1)
        panel.set_xlim(0, 112)
        finish_panel(panel, records, f"{mode}: percent of the limit")
    handles = [Patch(color=colour) for colour in TERMS.values()]
    figure.legend(handles, list(TERMS), loc="outside upper center", ncols=len(TERMS), frameon=False)
    save(figure, path)


def draw_growth(document: Document, path: Path) -> None:
    """Time against T, N, H and threads, one LSTM."""
    figure, grid = plt.subplots(2, len(AXES), figsize=(16, 7.5), layout="constrained", sharey="row")
    for panels, mode in zip(grid, MODES, strict=True):
        for panel, (along, label) in zip(panels, AXES.items(), strict=True):
            records = [r for r in document["growth"] if r["along"] == along and r["mode"] == mode]
            for name, colour in COLOURS.items():
                points = [(r["value"], row["median"] * 1e3) for r in records if (row := results.row_of(r, name))]
                if points:
                    style = {"color": colour, "linewidth": 2.5 if name == "pylstm" else 1.2, "markersize": 4}
                    panel.plot(*zip(*points, strict=True), "o-", label=name, **style)
            panel.set_xscale("log")
            panel.set_yscale("log")
            values = sorted({r["value"] for r in records})
            panel.set_xticks(values, [str(v) for v in values])
            panel.xaxis.set_minor_locator(NullLocator())
            panel.yaxis.set_major_formatter(PLAIN)
            panel.grid(alpha=0.3)
            panel.set_xlabel(label)
            panel.set_title(f"{mode}, {label}", fontsize=10)
        panels[0].set_ylabel("milliseconds")
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle(f"{growth.BASE.shape}, one size at a time", fontsize=11)
    save(figure, path)


def finish_panel(panel: Any, records: list[Record], title: str) -> None:
    panel.set_yticks(range(len(records)), [r["case"]["name"] for r in records])
    panel.set_ylim(len(records) - 0.4, -0.6)  # the first case on top
    panel.set_title(title, fontsize=11)
    panel.grid(axis="x", alpha=0.3)
    panel.set_axisbelow(True)


def save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110)
    plt.close(figure)
    print(f"drew {path.name}")


def draw(document: Document, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if document["found"]:
        draw_peers(document, folder / "peers.png")
        draw_shares(document, folder / "limit.png")
    if document["growth"]:
        draw_growth(document, folder / "growth.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("result", type=Path)
    parser.add_argument("folder", type=Path)
    args = parser.parse_args()
    draw(results.load(args.result), args.folder)


if __name__ == "__main__":
    main()
