"""What the examples share: reading a file of a known form, saying what was expected where it has another, checking
arguments before anything is trained, and ending in good order."""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any, TypeVar

import numpy as np

import pylstm

Array = np.ndarray[Any, np.dtype[Any]]
T = TypeVar("T")
SAMPLES = Path(__file__).resolve().parent / "data"  # small ones, made by make_samples.py there
FEWEST = 20  # examples of which something can be learned, and some held back
LABELLED = "a file with `label<TAB>text` on each line"


class DataError(Exception):
    """Data that an example cannot use. The text names the file, says what was expected and what came."""


# ---- reading ---------------------------------------------------------------------------------------------------------


def text_of(path: Path, form: str) -> str:
    """What a UTF-8 file holds, with the line ends of any system. form: what it should be, for errors."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"there is no {path}; say with --data where {form} is") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; expected {form}") from None
    if not raw.strip():
        raise DataError(f"{path} is empty; expected {form}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        hint = ", it looks like UTF-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        place = f"byte 0x{raw[error.start]:02x} in line {1 + raw.count(10, 0, error.start)}"
        raise DataError(f"{path} is not UTF-8{hint} ({place}); expected {form}, as UTF-8") from None
    if "\0" in text:
        raise DataError(f"{path} is no text: it holds a byte of 0; expected {form}")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_labelled(path: Path) -> list[tuple[str, str]]:
    """(label, text) of every line that is not blank."""
    rows = []
    for number, line in enumerate(text_of(path, LABELLED).split("\n"), 1):
        if not line.strip():
            continue
        label, tab, text = line.partition("\t")
        if not (label.strip() and text.strip()):
            lack = "tab" if not tab else "text after the tab" if label.strip() else "label before the tab"
            raise DataError(f"{path} has no {lack} in line {number}, {cut(line)!r}; expected {LABELLED}")
        rows.append((label.strip(), text))
    return rows


def sound(path: Path, form: str) -> tuple[Array, int]:
    """What `pylstm.read_wav` gives of a WAV file. form: what it should be, for errors."""
    try:
        return pylstm.read_wav(path)
    except FileNotFoundError:
        raise DataError(f"there is no {path}; expected {form}") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; expected {form}") from None
    except ValueError as error:
        raise DataError(f"{error}; expected {form}") from None


def arrays(path: Path, form: str) -> dict[str, Array]:
    """Those of an .npz file, by name. form: what it should be, for errors."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise DataError(f"there is no {path}; expected {form}") from None
    except (OSError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read {path}: {error}; expected {form}") from None


def installed(package: str, name: str, install: str) -> Path:
    """A file of a package that is installed, which is not imported. install: how to get it, for the error."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"{package}, whose file {name} this runs, is not installed: `{install}`, or --weights PATH")
    return Path(spec.submodule_search_locations[0]) / name


def cut(text: str, most: int = 40) -> str:
    return text if len(text) <= most else text[:most] + ".."


def load(
    path: Path, read: Callable[[Path], list[T]], form: str, endings: Sequence[str], every: int = 10, test: bool = False
) -> tuple[list[T], list[T], list[T]]:
    """Examples to learn from, to watch the training with, and for a figure in the end.

    Args:
        path: one file, of which one in `every` is held back for the second part, and one for the third; or a folder
            with a file for each: train, dev, test. Without dev, one in `every` of train is held back.
        read: gives a file's examples.
        form: what a file should be, for errors.
        endings: of the files in a folder.
        every: see path.
        test: whether the third part has to be there; of a folder it is read only then.
    """
    if path.is_dir():
        train, dev, last = (
            [] if part == "test" and not test else read_part(path, part, read, form, endings)
            for part in ("train", "dev", "test")
        )
        if not dev:
            train, dev = [row for i, row in enumerate(train) if i % every], train[::every]
    else:
        train, dev, last = held_back(read(path), every)
    if len(train) + len(dev) + len(last) < FEWEST:
        raise DataError(
            f"{path} holds {len(train + dev + last)} examples, at least {FEWEST} are needed; expected {form}"
        )
    return train, dev, last


def held_back(rows: list[T], every: int = 10) -> tuple[list[T], list[T], list[T]]:
    """Rows to learn from, and one in `every` to watch the training with, and one for a figure: always the same ones."""
    held = Random(0).sample(range(len(rows)), 2 * (len(rows) // every))
    left_out = set(held)
    return (
        [row for i, row in enumerate(rows) if i not in left_out],
        [rows[i] for i in held[::2]],
        [rows[i] for i in held[1::2]],
    )


def read_part(folder: Path, part: str, read: Callable[[Path], list[T]], form: str, endings: Sequence[str]) -> list[T]:
    """Of the file in the folder whose name has "train" ("dev", "test") in it."""
    names = [path for path in sorted(folder.iterdir()) if part in path.name and path.name.endswith(tuple(endings))]
    if len(names) > 1:
        raise DataError(f"{folder} has several files for {part}: {', '.join(path.name for path in names)}; keep one")
    if not names and part != "dev":
        files = ", ".join(f"{name}{endings[0]}" for name in ("train", "dev", "test"))
        raise DataError(
            f"there is no {part}{endings[0]} in {folder}; say with --data where {form} is, or a folder with {files}"
        )
    return read(names[0]) if names else []


# ---- gaps ------------------------------------------------------------------------------------------------------------


def last_known(values: Array) -> Array:
    """(T, F) -> (T, F): in place of each NaN the last number before it in its column, 0 where there is none."""
    last = np.maximum.accumulate(np.where(np.isnan(values), -1, np.arange(len(values))[:, None]), axis=0)
    return np.where(last < 0, 0.0, np.take_along_axis(values, np.maximum(last, 0), axis=0))


# ---- a baseline ------------------------------------------------------------------------------------------------------


def naive_bayes(train: Sequence[tuple[str, Iterable[str]]], dev: Sequence[tuple[str, Iterable[str]]]) -> float:
    """The share of dev, (label, words), that naive Bayes gets right, which counts words and knows nothing of order."""
    texts = Counter(label for label, _ in train)
    counts: dict[str, Counter[str]] = {label: Counter() for label in texts}
    for label, found in train:
        counts[label].update(found)
    size = len(set().union(*counts.values()))
    totals = {label: counter.total() + size for label, counter in counts.items()}

    def score(label: str, found: list[str]) -> float:
        seen = counts[label]
        return math.log(texts[label]) + sum(math.log((seen[word] + 1) / totals[label]) for word in found)

    right = [max(texts, key=lambda other: score(other, list(found))) == label for label, found in dev]
    return sum(right) / len(right)


# ---- arguments: refused before anything is trained -------------------------------------------------------------------


def whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"has to be a whole number, not {text!r}") from None


def real_number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"has to be a number, not {text!r}") from None


def positive_int(text: str) -> int:
    if (value := whole_number(text)) < 1:
        raise argparse.ArgumentTypeError(f"has to be at least 1, not {text}")
    return value


def positive(text: str) -> float:
    if not 0 < (value := real_number(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"has to be above 0 and finite, not {text}")
    return value


def share(text: str) -> float:
    if not 0 <= (value := real_number(text)) < 1:
        raise argparse.ArgumentTypeError(f"has to be at least 0 and below 1, not {text}")
    return value


def seed(text: str) -> int:
    if not 0 <= (value := whole_number(text)) < 2**32:
        raise argparse.ArgumentTypeError(f"has to be at least 0 and below 2**32, not {text}")
    return value


def model_file(text: str) -> Path:
    if text.endswith(".safetensors") and find_spec("safetensors") is None:
        raise argparse.ArgumentTypeError("writing .safetensors needs `pip install safetensors`; .npz needs nothing")
    return _new_file(text, (".npz", ".safetensors"))


def weights_file(text: str) -> Path:
    return _new_file(text, (".npz",))


def picture_file(text: str) -> Path:
    if find_spec("matplotlib") is None:
        raise argparse.ArgumentTypeError("drawing needs `pip install matplotlib`")
    return _new_file(text, (".png", ".pdf", ".svg"))


def _new_file(text: str, endings: tuple[str, ...]) -> Path:
    path = Path(text)
    if path.suffix not in endings:
        raise argparse.ArgumentTypeError(f"has to end in {' or '.join(endings)}, not {text!r}")
    if not path.absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder for {text!r}")
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is a folder")
    return path


def kept(path: Path | None, kind: type, *keys: str, **values: object) -> Any:
    """The model that an earlier run of this example has saved, or None if there is no such file.

    kind: of the model. keys: what its metadata have to hold; values: with what that has to be.
    """
    if path is None or not path.is_file():
        return None
    try:
        model = pylstm.load(path)
    except pylstm.ModelFileError as error:
        raise DataError(f"{path} is no model: {error}; expected one that this example saved") from None
    if not isinstance(model, kind) or not {*keys, *values} <= model.metadata.keys():
        raise DataError(f"{path} is a model of something else; expected one that this example saved")
    for name, value in values.items():
        if (found := model.metadata[name]) != value:
            raise DataError(f"{path} was saved with {name} {found!r}, and here it is {value!r}; say another file")
    print(f"{path} is loaded; delete it to train anew")
    return model


# ---- running ---------------------------------------------------------------------------------------------------------


def run(main: Callable[[], None]) -> None:
    """main(), which ends with one line where the data is not as expected or Ctrl-C was pressed.

    Ctrl-C in `fit` does not come here: it ends the training, and the example goes on with what has been learned.
    """
    name = Path(sys.argv[0]).stem
    for stream in (sys.stdout, sys.stderr):  # a terminal without the characters of a text shows their codes
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
        sys.stdout.flush()
    except DataError as error:
        sys.exit(f"{name}: {error}")
    except MemoryError as error:
        sys.exit(f"{name}: there is not enough memory: {error}")
    except KeyboardInterrupt:
        print(f"\n{name}: stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # who read the output has left, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
