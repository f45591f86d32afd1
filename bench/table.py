"""The README's table of speeds, made from a committed result.

    python bench/table.py                       # prints the README's block
    python bench/table.py --write               # .. and puts it into the README
    python bench/table.py --all [--json FILE]   # every peer's time instead

The README names the result it shows in the comment at the block's beginning.
"""

from __future__ import annotations

import argparse
import re
import textwrap
from pathlib import Path

import results
from report import duration
from results import Document, Record

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN = "<!-- made by `python bench/table.py --write` from {} -->"
END = "<!-- end of the table made by bench/table.py -->"
NAMES = {
    "torch": "PyTorch",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "keras": "Keras",
    "jax": "JAX",
    "pylstm": "pylstm",
    "reference": "NumPy",
}
MODES = ["inference", "training"]


def block_in(text: str) -> re.Match[str] | None:
    """The README's block: group 1 is the result's path, from the root."""
    pattern = re.escape(BEGIN).replace(re.escape("{}"), "(.+?)") + ".*?" + re.escape(END)
    return re.search(pattern, text, re.DOTALL)


def cells(record: Record | None) -> list[str]:
    """pylstm's time, the best peer's name, how many times longer that takes, the share of the limit."""
    row = results.row_of(record, "pylstm") if record else None
    if record is None or row is None:
        return ["–", "–", "–"]
    best, share = results.best_peer(record), results.share(record)
    ratio = f"{best['ratio']:.2f} x {NAMES[best['peer']]}" if best else "–"
    return [duration(row["median"]), ratio, f"{share:.0%}" if share else "–"]


def by_case(document: Document) -> dict[tuple[str, str], dict[str, Record]]:
    """(case, dtype) -> mode -> record, in the order they were measured."""
    found: dict[tuple[str, str], dict[str, Record]] = {}
    for record in document["found"]:
        found.setdefault((record["case"]["name"], record["case"]["dtype"]), {})[record["mode"]] = record
    return found


def table(document: Document) -> list[str]:
    """One line per case."""
    lines = [
        "| case | inference | faster than the best peer | of the limit | training | faster .. | of the limit |",
        "|---|--:|---|--:|--:|---|--:|",
    ]
    for (name, _), modes in by_case(document).items():
        shape = results.case_of(next(iter(modes.values()))).shape
        both = [text for mode in MODES for text in cells(modes.get(mode))]
        lines.append(f"| {name}: {shape} | {' | '.join(both)} |")
    return lines


def block(path: str, document: Document) -> str:
    """Everything between the markers, and the markers."""
    versions = document["versions"]
    peers = ", ".join(f"{NAMES[p]} {v.split('-')[0]}" for p, v in versions.items() if p not in results.OURS)
    threads = max(record["threads"] for record in document["found"])
    text = (
        f"Medians on {threads} threads; {results.describe_machine(document)}. The best of {peers}; each in a "
        "process of its own, taking turns, all checked to compute the same. The limit is what the machine, "
        "calibrated in the same run, could do at best: see [bench/limits.py](bench/limits.py)."
    )
    return "\n".join([BEGIN.format(path), *textwrap.wrap(text, 120), "", *table(document), END])


def everything(document: Document) -> list[str]:
    """Every peer's time in every case, and how many times longer than pylstm's that is."""
    peers = [peer for peer in NAMES if peer in document["versions"]]
    lines = ["| case | " + " | ".join(NAMES[p] for p in peers) + " | limit |", "|---|" + "---|" * (len(peers) + 1)]
    for record in document["found"]:
        texts = []
        for peer in peers:
            row = results.row_of(record, peer)
            ratio = f" ({row['ratio']:.2f})" if row and peer != "pylstm" and "ratio" in row else ""
            texts.append(duration(row["median"]) + ratio if row else "–")
        share, limit = results.share(record), record.get("limit")
        last = f"{share:.0%} {limit['term']}" if share and limit else "–"
        lines.append(f"| {record['case']['name']} {record['mode']} | {' | '.join(texts)} | {last} |")
    return lines


def write(path: str, document: Document) -> None:
    text = README.read_text(encoding="utf-8")
    if not (old := block_in(text)):
        raise SystemExit("README.md has no block to replace")
    README.write_text(text[: old.start()] + block(path, document) + text[old.end() :], encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--json", help="the result, relative to the root of the project; else the README's")
    parser.add_argument("--write", action="store_true", help="put the block into README.md")
    parser.add_argument("--all", action="store_true", help="print every peer's times instead")
    args = parser.parse_args()
    old = block_in(README.read_text(encoding="utf-8"))
    path = args.json or (old[1] if old else parser.error("README.md names no result: --json"))
    document = results.load(ROOT / path)
    if args.write:
        write(path, document)
    print("\n".join(everything(document)) if args.all else block(path, document))


if __name__ == "__main__":
    main()
