"""A whole model against the same one in PyTorch: equal weights and batches, 20 steps of training."""

from __future__ import annotations

import numpy as np
import pytest

import pylstm

torch = pytest.importorskip("torch")

VOCABULARY, DIM, HIDDEN, CLASSES = 40, 12, 10, 5
KINDS = {"lstm": ("LSTM", {}), "gru": ("GRU", {}), "rnn": ("RNN", {}), "lstm_projection": ("LSTM", {"proj_size": 6})}


class Theirs(torch.nn.Module):
    def __init__(self, kind, options, per_step):
        super().__init__()
        self.embed = torch.nn.Embedding(VOCABULARY, DIM, padding_idx=0)
        self.rnn = getattr(torch.nn, kind)(DIM, HIDDEN, 2, batch_first=True, bidirectional=True, **options)
        self.head = torch.nn.Linear(2 * options.get("proj_size", HIDDEN), CLASSES)
        self.per_step = per_step

    def forward(self, ids, lengths):
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            self.embed(ids), lengths, batch_first=True, enforce_sorted=False
        )
        output, _ = torch.nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], batch_first=True)
        if not self.per_step:
            inside = torch.arange(output.shape[1])[None, :, None] < lengths[:, None, None]
            output = output.masked_fill(~inside, -torch.inf).max(dim=1).values
        return self.head(output)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("per_step", [False, True], ids=["sequence", "step"])
@pytest.mark.parametrize("kind", KINDS)
def test_20_steps_of_training(kind, per_step):
    name, options = KINDS[kind]
    torch.manual_seed(0)
    theirs = Theirs(name, options, per_step).double()
    recurrent = getattr(pylstm, name)(
        DIM, HIDDEN, 2, batch_first=True, bidirectional=True, dtype=np.float64, **options
    )  # fmt: skip
    width = 2 * options.get("proj_size", HIDDEN)
    pooling = [] if per_step else [pylstm.MaxOverTime()]
    ours = pylstm.Sequential([
        pylstm.Embedding(VOCABULARY, DIM, padding_idx=0, dtype=np.float64), recurrent, *pooling,
        pylstm.Linear(width, CLASSES, dtype=np.float64),
    ])  # fmt: skip
    last = len(ours.layers) - 1
    names = {f"0.{k}": f"embed.{k}" for k in ["weight"]}
    names |= {f"1.{k}": f"rnn.{k}" for k in recurrent.params}
    names |= {f"{last}.{k}": f"head.{k}" for k in ("weight", "bias")}
    state = theirs.state_dict()
    ours.load_state_dict({mine: state[other].numpy() for mine, other in names.items()})
    start = ours.state_dict()

    their_adam, our_adam = torch.optim.Adam(theirs.parameters(), lr=1e-2), pylstm.Adam(1e-2)
    rng = np.random.default_rng(1)
    for _ in range(20):
        lengths = rng.integers(1, 9, 6)
        lengths[0] = 8
        ids = rng.integers(0, VOCABULARY, (6, 8))
        labels = rng.integers(0, CLASSES, (6, 8) if per_step else 6)

        logits = theirs(torch.tensor(ids), torch.tensor(lengths))
        known = labels.copy()
        if per_step:
            known[np.arange(8) >= lengths[:, None]] = -100
            logits = logits.movedim(-1, 1)
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(known))
        their_adam.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
        their_adam.step()

        outputs, backward = ours.forward(ids, lengths=lengths)
        value, gradient = pylstm.cross_entropy(outputs, labels, lengths=lengths if per_step else None)
        our_adam.step(ours, backward(gradient)[1], clip_norm=0.5)
        assert value == pytest.approx(loss.item(), rel=1e-9)

    state = theirs.state_dict()
    for mine, other in names.items():
        np.testing.assert_allclose(ours.params[mine], state[other].numpy(), rtol=0, atol=1e-9, err_msg=mine)
        assert np.abs(ours.params[mine] - start[mine]).max() > 1e-2, mine


def test_fit_follows_torch_over_epochs():
    """fit itself, unshuffled, with momentum: batching, loss and update together."""
    torch.manual_seed(0)
    theirs = Theirs("LSTM", {}, per_step=False).double()
    ours = pylstm.Sequential([
        pylstm.Embedding(VOCABULARY, DIM, padding_idx=0, dtype=np.float64),
        pylstm.LSTM(DIM, HIDDEN, 2, batch_first=True, bidirectional=True, dtype=np.float64),
        pylstm.MaxOverTime(), pylstm.Linear(2 * HIDDEN, CLASSES, dtype=np.float64),
    ])  # fmt: skip
    ours.load_state_dict(dict(zip(ours.params, (v.numpy() for v in theirs.state_dict().values()), strict=True)))
    rng = np.random.default_rng(2)
    sequences = [rng.integers(1, VOCABULARY, n) for n in rng.integers(1, 9, 30)]
    labels = rng.integers(0, CLASSES, 30)
    ours.fit(
        sequences, labels, loss="cross_entropy", optimizer=pylstm.SGD(0.1, 0.9), batch_size=8, epochs=3, shuffle=False,
        verbose=0,
    )  # fmt: skip
    sgd = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):
        for at in range(0, 30, 8):
            some = sequences[at : at + 8]
            padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(s) for s in some], batch_first=True)
            logits = theirs(padded, torch.tensor([len(s) for s in some]))
            sgd.zero_grad()
            torch.nn.functional.cross_entropy(logits, torch.tensor(labels[at : at + 8])).backward()
            sgd.step()
    for mine, value in zip(ours.params.values(), theirs.state_dict().values(), strict=True):
        np.testing.assert_allclose(mine, value.numpy(), rtol=0, atol=1e-9)
