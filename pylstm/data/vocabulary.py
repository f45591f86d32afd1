"""Texts as numbers: which word has which."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _checks
from .._arrays import array_of, frozen
from .splitting import WAYS, join, split

Ids = NDArray[np.int64]
_ENOUGH = 1000  # words in texts, from which on those that occur once stand for those that never did
_MARK = "\ufeff"  # the byte order mark that files from Windows begin with, which is none of their characters
_PADDING, _UNKNOWN = "<padding>", "<unknown>"


class Vocabulary:
    """The words, or characters, of some texts, each with a number for an `Embedding`.

    0 is for padding and 1 for all words that are not in it; from 2 on stand the words of the texts, the most frequent
    ones first, those of one frequency in the order of their letters: the same texts in any order, the same numbers.

    Make it of the texts that are trained on, and of no others: then validation has unknown words as production will.
    And let training see some: a vector that no text has used is as it was drawn at random. With `min_count=2` words
    that occur once are unknown ones, and teach what an unknown word means.

    Args:
        texts: strings; or lists of strings, texts that are split already. Any iterable, also a file, whose lines are
            read one at a time.
        by: "words": at spaces and punctuation, which is words of its own; Chinese and Japanese, Thai, Lao, Khmer and
            Burmese, which have no spaces between words, by characters, wherever they stand among others. "characters":
            every character, spaces among them. "spaces": at spaces alone, for texts whose words stand apart.
        lowercase: None: yes, but for by="characters".
        min_count: how often a word has to occur. None: 2 if the texts hold 1,000 words or more, else 1.
        max_size: the most numbers there may be, 0 and 1 among them: the rarest words are left out.

    Raises TypeError for a text that is none, naming its place, and TypeError or ValueError for other wrong arguments.

    Attributes:
        words: by number, a tuple; `words[0]` and `words[1]` are names for padding and unknown words.
        counts: how often each occurred in the texts, (len(words),): `counts[1]` those that are unknown.
        padding: 0.
        unknown: 1.

    A vocabulary never changes. It may stand in a model's metadata, and comes back with the model.

    >>> vocabulary = Vocabulary(["The film is good.", "这部电影很好", "The film is not good"])
    >>> len(vocabulary), vocabulary.words[2:6]
    (14, ('film', 'good', 'is', 'the'))
    >>> vocabulary.encode(["Good film!", "很好"])
    [array([3, 2, 1]), array([10,  8])]
    >>> vocabulary.decode([3, 2, 1])
    'good film <unknown>'
    """

    padding, unknown = 0, 1
    _ids: dict[str, int] | None = None  # made when needed

    def __init__(
        self,
        texts: Iterable[str | Sequence[str]],
        *,
        by: str = "words",
        lowercase: bool | None = None,
        min_count: int | None = None,
        max_size: int | None = None,
    ) -> None:
        self._by = _checks.choice("by", by, WAYS)
        self._lowercase = by != "characters" if lowercase is None else _checks.flag("lowercase", lowercase)
        least = None if min_count is None else _checks.integer("min_count", min_count)
        most = None if max_size is None else _checks.integer("max_size", max_size, minimum=2)
        counter: Counter[str] = Counter()
        for i, text in enumerate(_texts(texts)):
            counter.update(self._split(text, i))
        total = sum(counter.values())
        least = least or (2 if total >= _ENOUGH else 1)
        kept = [pair for pair in counter.items() if pair[1] >= least]
        kept.sort(key=lambda pair: (-pair[1], pair[0]))
        del kept[len(kept) if most is None else most - 2 :]
        counts = [count for _, count in kept]
        self._set([word for word, _ in kept], [0, total - sum(counts), *counts])

    def _set(self, words: Iterable[str], counts: list[int]) -> None:
        self._words: tuple[str, ...] = (_PADDING, _UNKNOWN, *words)
        self._counts: Ids = frozen(np.array(counts, np.int64))

    @property
    def words(self) -> tuple[str, ...]:
        return self._words

    @property
    def counts(self) -> Ids:
        return self._counts

    # ---- texts and numbers ---------------------------------------------------------------------------------------

    def encode(self, texts: str | Iterable[str | Sequence[str]]) -> Any:
        """The numbers of texts, as `fit`, `evaluate` and `predict` take them.

        Args:
            texts: as the constructor takes them, or a single string.

        Returns:
            A list of arrays (T_i,), int64; of a single string its array. A word that is not in the vocabulary is 1.
        """
        if isinstance(texts, str):
            return self._encoded(texts, 0)
        return [self._encoded(text, i) for i, text in enumerate(_texts(texts))]

    def decode(self, ids: Any) -> Any:
        """A text of numbers, without padding; unknown words stand in it as <unknown>.

        Args:
            ids: integers (T,); or several such, a list or an array (N, T).

        Returns:
            A string; or a list of strings. Words have spaces between them, where their script does.

        Raises TypeError for other things than integers, IndexError for a number that the vocabulary does not have.
        """
        if isinstance(ids, np.ndarray) and ids.ndim == 2:
            ids = list(ids)
        if isinstance(ids, (list, tuple)) and any(hasattr(one, "__len__") for one in ids):
            return [self._decoded(one, f"ids[{i}]") for i, one in enumerate(ids)]
        return self._decoded(ids, "ids")

    def split(self, text: str) -> list[str]:
        """The words of a text, as `encode` looks them up."""
        return self._split(text, 0)

    def id(self, word: str) -> int:
        """The number of a word, as it stands in `words`; 1 if it does not."""
        return self._numbers().get(word, 1)

    def __contains__(self, word: object) -> bool:
        return word in self._numbers()

    def __len__(self) -> int:
        """How many numbers there are: `Embedding(len(vocabulary), ..., padding_idx=0)`."""
        return len(self.words)

    def _split(self, text: Any, index: int) -> list[str]:
        if isinstance(text, str):
            return split(self._plain(text.removeprefix(_MARK)), self._by)
        if isinstance(text, (list, tuple)):
            for i, word in enumerate(text):
                if not isinstance(word, str):
                    raise TypeError(f"texts[{index}][{i}] must be a string, got {_checks.kind(word)}")
            if text and text[0].startswith(_MARK):
                text = [text[0].removeprefix(_MARK), *text[1:]][text[0] == _MARK :]
            return [self._plain(word) for word in text]
        raise TypeError(f"texts[{index}] must be a string, or a list of words, got {_checks.kind(text)}")

    def _plain(self, text: str) -> str:
        """One way to write what can be written in several: é is one character."""
        text = unicodedata.normalize("NFC", str(text))
        return unicodedata.normalize("NFC", text.lower()) if self._lowercase else text

    def _numbers(self) -> dict[str, int]:
        found = self._ids
        if found is None:
            found = self._ids = dict(zip(self.words[2:], range(2, len(self.words)), strict=True))
        return found

    def _encoded(self, text: Any, index: int) -> Ids:
        numbers = self._numbers()
        return np.array([numbers.get(word, 1) for word in self._split(text, index)], np.int64)

    def _decoded(self, ids: Any, name: str) -> str:
        array = array_of(name, ids)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            raise TypeError(f"{name} must be integers, (T,), got {array.dtype} of shape {array.shape}")
        if array.size and not 0 <= array.min() <= array.max() < len(self):
            wrong = array[(array < 0) | (array >= len(self))][0]
            raise IndexError(f"{name} must be in 0..{len(self) - 1}, got {wrong}")
        return join([self.words[i] for i in array.tolist() if i], self._by)

    # ---- the object ----------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """All that it is in lists, numbers and strings, for JSON, e.g.: `Vocabulary.from_dict` makes it again."""
        return {
            "by": self._by,
            "lowercase": self._lowercase,
            "unknown_count": int(self.counts[1]),
            "words": list(self.words[2:]),
            "counts": self.counts[2:].tolist(),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Vocabulary:
        """The vocabulary of which `to_dict` made this. Raises TypeError or ValueError for anything else."""
        if not isinstance(value, Mapping):
            raise TypeError(f"a vocabulary is made of a dict, got {_checks.kind(value)}")
        keys = {"by", "lowercase", "unknown_count", "words", "counts"}
        if set(value) != keys:
            raise ValueError(f"a vocabulary is made of {', '.join(sorted(keys))}, got {list(value)!r:.200}")
        made = cls.__new__(cls)
        made._by, made._lowercase = (
            _checks.choice("by", value["by"], WAYS),
            _checks.flag("lowercase", value["lowercase"]),
        )
        words, counts = value["words"], value["counts"]
        if not isinstance(words, list) or not all(type(word) is str for word in words):
            raise TypeError("the words of a vocabulary must be a list of strings")
        counts = [value["unknown_count"], *counts] if isinstance(counts, list) else None
        if counts is None or not all(type(count) is int and 0 <= count < 2**63 for count in counts):
            raise TypeError("the counts of a vocabulary must be integers in a list")
        if len(counts) != len(words) + 1:
            raise ValueError(f"a vocabulary of {len(words)} words has {len(counts) - 1} counts")
        if len(set(words)) != len(words):
            raise ValueError("a vocabulary holds a word twice")
        made._set(words, [0, *counts])
        return made

    def _parts(self) -> tuple[Any, ...]:
        return self._by, self._lowercase, self.words, self.counts.tolist()

    def __eq__(self, other: object) -> bool:
        return self._parts() == other._parts() if isinstance(other, Vocabulary) else NotImplemented

    def __hash__(self) -> int:
        return hash((self._by, self._lowercase, self.words))

    def __reduce__(self) -> tuple[Any, ...]:
        return Vocabulary.from_dict, (self.to_dict(),)

    def __repr__(self) -> str:
        return f"Vocabulary of {len(self):,} numbers, by={self._by!r}, lowercase={self._lowercase}"


def _texts(texts: Any) -> Iterable[Any]:
    if isinstance(texts, (str, bytes)) or not isinstance(texts, Iterable):
        shown = "a single string: [text]" if isinstance(texts, str) else _checks.kind(texts)
        raise TypeError(f"texts must be several texts, a list, e.g., got {shown}")
    return texts
