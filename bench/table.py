"""The tables of speeds in README.md and docs/performance.md, made from committed results.

    python bench/table.py                       # prints the blocks of README.md and docs/performance.md
    python bench/table.py --write               # .. and puts them there
    python bench/table.py --json FILE           # the same tables of another result, printed
    python bench/table.py --all [--json FILE]   # every peer's time instead

A document names the result that a block shows in the comment at the block's beginning. A result of layers comes from
run.py, one of whole models from end_to_end.py; "parts of" the latter are where the time goes.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from pathlib import Path

import results
from models.parts import PARTS
from report import duration
from results import Document, Record

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "docs" / "performance.md"]
BEGIN = "<!-- made by `python bench/table.py --write` from {} -->"
END = "<!-- end of the table made by bench/table.py -->"
PARTS_OF = "the parts of "
NAMES = {
    "torch": "PyTorch",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "keras": "Keras",
    "keras_tensorflow": "Keras on TensorFlow",
    "keras_jax": "Keras on JAX",
    "jax": "JAX",
    "pylstm": "pylstm",
    "reference": "NumPy",
}
MODES = ["inference", "training"]
WORDS = {"inference": "predict", "training": "train"}  # of whole models


def blocks_in(text: str) -> list[re.Match[str]]:
    """The blocks of a document: group 1 is the result's path, from the root, perhaps behind `PARTS_OF`."""
    pattern = re.escape(BEGIN).replace(re.escape("{}"), "([^>]+?)") + ".*?" + re.escape(END)
    return list(re.finditer(pattern, text, re.DOTALL))


def cells(record: Record | None) -> list[str]:
    """pylstm's time, the best peer's name, how many times longer that takes, the share of the limit."""
    row = results.row_of(record, "pylstm") if record else None
    if record is None or row is None:
        return ["–", "–", "–"]
    best, share = results.best_peer(record), results.share(record)
    ratio = f"{best['ratio']:.2f} x {NAMES[best['peer']]}" if best else "–"
    return [duration(row["median"] / row.get("batches", 1)), ratio, f"{share:.0%}" if share else "–"]


def by_case(document: Document) -> dict[tuple[str, str], dict[str, Record]]:
    """(case, dtype) -> mode -> record, in the order they were measured."""
    found: dict[tuple[str, str], dict[str, Record]] = {}
    for record in document["found"]:
        found.setdefault((record["case"]["name"], record["case"]["dtype"]), {})[record["mode"]] = record
    return found


def table(document: Document) -> list[str]:
    """One line per case; for whole models also the geometric means."""
    whole = results.is_model(document["found"][0])
    first, second = [WORDS[mode] if whole else mode for mode in MODES]
    lines = [
        f"| case | {first} | faster than the best peer | of the limit | {second} | faster .. | of the limit |",
        "|---|--:|---|--:|--:|---|--:|",
    ]
    for (name, _), modes in by_case(document).items():
        shape = results.case_of(next(iter(modes.values()))).shape
        both = [text for mode in MODES for text in cells(modes.get(mode))]
        lines.append(f"| {name}: {shape} | {' | '.join(both)} |")
    if whole:
        means = [results.mean_ratio(document["found"], mode) for mode in MODES]
        texts = [f"| {f'{mean:.2f} x' if mean else '–'} |" for mean in means]
        lines.append(f"| geometric mean | {' | '.join(texts)} |")
    return lines


def parts_table(document: Document) -> list[str]:
    """Where pylstm's time goes: a line per case and mode, each part's time and its limit."""
    measured = [record for record in document["found"] if "parts" in record and results.row_of(record, "pylstm")]
    names = [name for name in PARTS if any(record["parts"].get(name) for record in measured)]
    lines = ["| case | " + " | ".join([*names, "all"]) + " |", "|---|" + "--:|" * (len(names) + 1)]
    for record in measured:
        row = results.row_of(record, "pylstm")
        assert row is not None
        terms, texts = record.get("limit", {}).get("terms", {}), []
        for name in names:
            least = f" ({terms[name] / row['batches'] * 1e3:.2g})" if terms.get(name) else ""
            seconds = record["parts"].get(name, 0.0) / row["batches"]
            texts.append(f"{seconds * 1e3:.2f}{least}" if seconds else "–")
        total = record["parts"]["total"] / row["batches"]
        lines.append(f"| {record['case']['name']}, {WORDS[record['mode']]} | {' | '.join(texts)} | {total * 1e3:.2f} |")
    return lines


def block(path: str, document: Document) -> str:
    """Everything between the markers, and the markers. path: as the marker names it."""
    if path.startswith(PARTS_OF):
        text = (
            "Milliseconds of a step (train) or of a batch (predict) of pylstm, by part, under Python's profiler; in "
            "brackets the least that the part could take, by `bench/models/limits.py`. A head that is computed "
            f"together with the loss counts under loss. {results.describe_machine(document)}."
        )
        lines = parts_table(document)
    else:
        text, lines = about(document), table(document)
    return "\n".join([BEGIN.format(path), *textwrap.wrap(text, 120), "", *lines, END])


def about(document: Document) -> str:
    """What a reader has to know about a table of speeds."""
    names = {peer: name.partition(" on ")[0] for peer, name in NAMES.items()}  # the version says on what
    peers = ", ".join(f"{names[p]} {v.split('-')[0]}" for p, v in document["versions"].items() if p not in results.OURS)
    threads = max(record["threads"] for record in document["found"])
    whole = results.is_model(document["found"][0])
    file = "bench/models/limits.py" if whole else "bench/limits.py"
    what = "Whole steps of training (`fit`) and predictions of a batch, medians" if whole else "Medians"
    return (
        f"{what} on {threads} threads; {results.describe_machine(document)}. The best of {peers}; each in a "
        "process of its own, taking turns, all checked to compute the same. The limit is what the machine, "
        f"calibrated in the same run, could do at best: see [{file}]({file})."
    )


def everything(document: Document) -> list[str]:
    """Every peer's time in every case, and how many times longer than pylstm's that is."""
    peers = [peer for peer in NAMES if peer in document["versions"]]
    lines = ["| case | " + " | ".join(NAMES[p] for p in peers) + " | limit |", "|---|" + "---|" * (len(peers) + 1)]
    for record in document["found"]:
        texts = []
        for peer in peers:
            row = results.row_of(record, peer)
            ratio = f" ({row['ratio']:.2f})" if row and peer != "pylstm" and "ratio" in row else ""
            texts.append(duration(row["median"] / row.get("batches", 1)) + ratio if row else "–")
        share, limit = results.share(record), record.get("limit")
        last = f"{share:.0%} {limit['term']}" if share and limit else "–"
        lines.append(f"| {record['case']['name']} {record['mode']} | {' | '.join(texts)} | {last} |")
    return lines


def document_of(path: str) -> Document:
    return results.load(ROOT / path.removeprefix(PARTS_OF))


def renewed(text: str) -> str:
    """A page with its blocks made anew."""
    for old in reversed(blocks_in(text)):
        text = text[: old.start()] + block(old[1], document_of(old[1])) + text[old.end() :]
    return text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--json", help="a result, relative to the root of the project; else those that the pages name")
    parser.add_argument("--write", action="store_true", help="make the blocks of the pages anew")
    parser.add_argument("--all", action="store_true", help="print every peer's times instead")
    args = parser.parse_args()
    if args.json and args.write:
        parser.error("--write takes the results that the pages name: change the name there")
    if args.write:
        for page in PAGES:
            page.write_text(renewed(page.read_text(encoding="utf-8")), encoding="utf-8")
    paths = [old[1] for page in PAGES for old in blocks_in(page.read_text(encoding="utf-8"))]
    if args.json:
        parts = any("parts" in record for record in document_of(args.json)["found"])
        paths = [args.json, *([PARTS_OF + args.json] if parts else [])]
    for path in paths:
        document = document_of(path)
        if not args.all:
            print(block(path, document))
        elif not path.startswith(PARTS_OF):
            print("\n".join(everything(document)))


if __name__ == "__main__":
    main()
