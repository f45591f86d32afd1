"""What the letters of gates and inner states mean to a reader: titles of pictures."""

LSTM = {
    "i": "input gate: how much of the new enters",
    "f": "forget gate: how much of the old stays",
    "g": "candidate: what would enter",
    "o": "output gate: how much shows",
    "c": "cell state: the memory",
}
COUPLED = {
    "i": "input gate: how much of the new enters, and of the old goes",
    "g": LSTM["g"],
    "o": LSTM["o"],
    "c": LSTM["c"],
}
GRU = {
    "r": "reset gate: how much of the past the candidate sees",
    "z": "update gate: how much of the past stays",
    "n": "candidate",
}
