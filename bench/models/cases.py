"""The whole models that are timed. A case is a line; its data are in data.py."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

ZIPF = 1.2  # the k-th most frequent symbol is drawn with a probability in proportion to k ** -ZIPF


@dataclass(frozen=True)
class ModelCase:
    """Embedding (where `vocabulary` is not 0) -> LSTM -> the last step, or every step -> Linear; Adam.

    T: steps, N: sequences of a batch, E: width of the embedding or numbers a step, H: hidden size, C: outputs.
    With S, targets have lengths of their own: labels without places (loss="ctc"), or a translation (`translates`), for
    which an encoder with H / 2 units both ways is before the LSTM, and an attention behind it (Luong et al. 2015).
    """

    name: str
    vocabulary: int
    E: int
    H: int
    T: int
    N: int
    C: int
    batches: int  # prepared: a timed run goes through all of them
    layers: int = 1
    bidirectional: bool = False
    per_step: bool = False  # an output for every step
    shortest: int = 0  # lengths are drawn from shortest..T; 0: all are T
    loss: str = "cross_entropy"
    S: int = 0  # symbols of a target at most, where it has a length of its own
    text: bool = False  # real text in place of symbols drawn from Zipf's distribution
    dtype: str = "float32"

    modes: ClassVar[list[str]] = ["inference", "training"]
    tolerance: ClassVar[float] = 1e-4  # relative, of what all libraries have to agree on
    room: ClassVar[str] = "models"  # the folder of its peers

    @property
    def ragged(self) -> bool:
        return self.shortest > 0

    @property
    def translates(self) -> bool:
        """Whether what is written are sequences of symbols; C is their vocabulary, begin and end among them."""
        return self.S > 0 and self.loss != "ctc"

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def width(self) -> int:
        """Of what the head reads."""
        return self.directions * self.H

    @property
    def shape(self) -> str:
        """For people: the layers and sizes."""
        if self.translates:
            encoder = f"Embedding({self.vocabulary:,}, {self.E}), LSTM({self.H // 2}) both ways"
            decoder = f"Embedding({self.C:,}, {self.E}), LSTM({self.H}), attention, Linear({self.C:,}) per step"
            return f"{encoder}; {decoder}; T={self.T} and {self.S} N={self.N}" + ", ragged" * self.ragged
        first = f"Embedding({self.vocabulary:,}, {self.E}), " if self.vocabulary else f"{self.E} numbers a step, "
        stack = f"{self.layers} x " if self.layers > 1 else ""
        ways = " both ways" if self.bidirectional else ""
        head = f"Linear({self.C:,})" + " per step" * self.per_step + ", CTC" * (self.loss == "ctc")
        extras = ", ragged" * self.ragged + ", real text" * self.text
        return f"{first}{stack}LSTM({self.H}){ways}, {head}; T={self.T} N={self.N}{extras}"


CASES = [
    ModelCase("poems", 4961, 128, 256, 28, 32, 4961, 8, per_step=True, shortest=20),
    ModelCase("words", 10000, 200, 200, 35, 20, 10000, 4, layers=2, per_step=True),
    ModelCase("decoder", 5000, 256, 256, 20, 64, 5000, 6, per_step=True, shortest=5),
    ModelCase("characters", 98, 64, 256, 100, 32, 98, 4, per_step=True),
    ModelCase("sentences", 14322, 256, 128, 64, 128, 1, 8, shortest=5, loss="binary_cross_entropy"),
    ModelCase("tags", 12000, 100, 128, 40, 32, 17, 8, bidirectional=True, per_step=True, shortest=4),
    ModelCase("series", 0, 7, 64, 96, 32, 24, 24, layers=2, loss="mse"),
    ModelCase("reviews", 10000, 32, 100, 500, 64, 1, 3, loss="binary_cross_entropy"),
    ModelCase("translator", 8000, 256, 256, 20, 64, 6002, 6, per_step=True, shortest=3, S=24),
    ModelCase(
        "speech", 0, 80, 128, 150, 32, 11, 4, layers=2, bidirectional=True, per_step=True, shortest=60, loss="ctc", S=7
    ),
]
TEXTS = [replace(case, name=f"{case.name}_text", text=True) for case in CASES if case.vocabulary and not case.S]
BY_NAME = {case.name: case for case in CASES + TEXTS}
GROUPS = {"zipf": [case.name for case in CASES], "text": [case.name for case in TEXTS], "all": list(BY_NAME)}


def select(names: list[str]) -> list[ModelCase]:
    """Cases by name or by the name of a group; a ValueError says what there is."""
    expanded = [case for name in names for case in GROUPS.get(name, [name])]
    if unknown := [name for name in expanded if name not in BY_NAME]:
        raise ValueError(f"no case {', '.join(unknown)}; there are {', '.join(BY_NAME)}, and {', '.join(GROUPS)}")
    return [BY_NAME[name] for name in dict.fromkeys(expanded)]
