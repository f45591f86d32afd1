"""Small translators of random weights, and the same ones in PyTorch, sentence by sentence without any padding."""

from __future__ import annotations

from typing import Any

import numpy as np

import pylstm

BEGIN, END = 0, 1
FORMS = {  # of `translator`, each with something of its own
    "plain": {},
    "additive": {"attention": "additive", "bidirectional": True, "reverse_source": True},
    "dot": {"attention": "dot", "layers": 2, "dropout": 0.3},
    "feeding": {"attention": "general", "input_feeding": True, "stacked": True, "layers": 2},
    "feeding alone": {"input_feeding": True, "cell": "GRU"},
    "tied": {"attention": "additive", "tie_embeddings": True, "shared": True},
}


def pairs(seed, count=7, source=11, target=9, longest=6):
    """Sources and targets of all lengths from 0 on; the target's symbols are neither begin nor end."""
    rng = np.random.default_rng(seed)
    sources = [rng.integers(0, source, n % (longest + 1)).tolist() for n in range(count)]
    targets = [rng.integers(2, target, (n * 5 + 3) % (longest + 1)).tolist() for n in range(count)]
    return sources, targets


def translator(
    attention: str | None = None,
    *,
    cell: str = "LSTM",
    decoder_cell: str | None = None,
    bidirectional: bool = False,
    layers: int = 1,
    decoder_layers: int | None = None,
    stacked: bool = False,
    size: int = 6,
    shared: bool = False,
    source: int = 11,
    target: int = 9,
    dtype: Any = np.float64,
    dropout: float = 0.0,
    seed: int = 0,
    **options: Any,
) -> pylstm.EncoderDecoder:
    """stacked: layers as objects one after another, not in one."""
    kind, other = getattr(pylstm, cell), getattr(pylstm, decoder_cell or cell)
    down = layers if decoder_layers is None else decoder_layers
    embed, hidden = 5, size if not bidirectional else size - 1
    wide = hidden * (2 if bidirectional else 1)
    recurrent = {"batch_first": True, "dtype": dtype}
    feeding, tied = options.get("input_feeding", False), options.get("tie_embeddings", False)
    vector = embed if tied and attention else (7 if attention else (embed if tied else size))
    size = embed if tied and not attention else size
    if attention in ("dot", "scaled_dot"):
        size = wide
        vector = vector if tied or attention else size
    first = embed + (vector if feeding else 0)
    if stacked:
        up = [kind(embed if k == 0 else wide, hidden, bidirectional=bidirectional, **recurrent) for k in range(layers)]
        lower = [other(first if k == 0 else size, size, **recurrent) for k in range(down)]
    else:
        up = [kind(embed, hidden, layers, bidirectional=bidirectional, **recurrent)]
        lower = [other(first, size, down, **recurrent)]
    words = pylstm.Embedding(max(source, target) if shared else target, embed, dtype=dtype)
    encoder = [words if shared else pylstm.Embedding(source, embed, dtype=dtype), *up]
    drop, more = ([pylstm.Dropout(dropout)] if dropout else [] for _ in range(2))
    decoder = [words, *drop, *lower, *more, *([] if tied else [pylstm.Linear(vector, words.num, dtype=dtype)])]
    model = pylstm.EncoderDecoder(encoder, decoder, attention, begin=BEGIN, end=END, seed=seed, **options)
    rng = np.random.default_rng(seed + 1)  # livelier than a layer's own beginnings, biases among them
    model.load_state_dict({name: rng.normal(0, 0.6, value.shape) for name, value in model.params.items()})
    return model


def fitted(model, **options):
    """(history, weights) after a short training."""
    sources, targets = pairs(3, count=20)
    given = {"optimizer": pylstm.Adam(1e-2), "epochs": 2, "batch_size": 6, "seed": 1, "verbose": 0, **options}
    history = model.fit(sources, targets, **given)
    return history, model.state_dict()


def same(a, b):
    """Whether weights are equal."""
    return all(np.array_equal(a[name], b[name]) for name in a)


def torch_loss(model, sources, targets):
    """(loss, name -> gradient, logits of each sentence) of the mean over all symbols, by PyTorch in float64."""
    import torch

    params = {n: torch.tensor(v, dtype=torch.float64, requires_grad=True) for n, v in model.state_dict().items()}
    total, count, found = 0.0, 0, []
    for source, target in zip(sources, targets, strict=True):
        logits = _logits(torch, model, params, source, [model.begin, *target])
        found.append(logits.detach().numpy())
        total = total + torch.nn.functional.cross_entropy(logits, torch.tensor([*target, model.end]), reduction="sum")
        count += len(target) + 1
    loss = total / count
    loss.backward()
    grads = {n: np.zeros(v.shape) if v.grad is None else v.grad.numpy() for n, v in params.items()}
    return loss.item(), grads, found


def _logits(torch, model, params, source, target):
    shared = model.decoder[0] is model.encoder[0]
    own = {name.partition(".")[2]: value for name, value in params.items() if name.startswith("encoder.")}
    states, keys = [], None
    x = own["0.weight"][torch.tensor(source, dtype=torch.long)]
    if model.reverse_source:
        x = x.flip(0)
    for i, layer in enumerate(model.encoder[1:], 1):
        x, state = _recurrent(torch, layer, own, f"{i}.", x, None)
        states.append(state if isinstance(state, tuple) else (state,))
    keys = x
    vectors = {"h": [], "c": []}
    for layer, state in zip(model.encoder[1:], states, strict=True):
        d = layer.num_directions
        for name, array in zip("hc", state, strict=False):
            vectors[name] += [array[k : k + d].reshape(-1) for k in range(0, len(array), d)]
    begun, k = [], 0
    recurrent = [layer for layer in model.decoder if layer.returns_state]
    depth = sum(layer.num_layers for layer in recurrent)
    for layer in recurrent:
        arrays = []
        for name in "hc"[: 2 if isinstance(layer, pylstm.LSTM) else 1]:
            each = []
            for level in range(k, k + layer.num_layers):
                have = vectors[name] or vectors["h"]
                vector = have[min(level + max(0, len(have) - depth), len(have) - 1)]
                if f"bridge.{name}_l{level}.weight" in params:
                    weight, bias = (params[f"bridge.{name}_l{level}.{what}"] for what in ("weight", "bias"))
                    vector = torch.tanh(weight @ vector + bias)
                elif model._bridge.kind == "zero":
                    vector = torch.zeros(layer.hidden_size, dtype=torch.float64)
                each.append(vector)
            arrays.append(torch.stack(each))
        k += layer.num_layers
        begun.append(tuple(arrays) if len(arrays) > 1 else arrays[0])
    table = own["0.weight"] if shared else params["decoder.0.weight"]
    fed = torch.zeros(model.parts.width, dtype=torch.float64)
    rows = []
    for symbol in target:
        x = table[symbol]
        if model.input_feeding:
            x = torch.cat([x, fed])
        at = 0
        for i, layer in enumerate(model.decoder):
            if layer.returns_state:
                y, begun[at] = _recurrent(torch, layer, params, f"decoder.{i}.", x[None], begun[at])
                x, at = y[0], at + 1
        if model.attention is not None:
            context = _context(torch, model.attention, params, x, keys)
            x = torch.tanh(params["combine.weight"] @ torch.cat([context, x]))
        fed = x
        rows.append(x)
    y = torch.stack(rows)
    if model.parts.head is None:
        return y @ table.T
    last = len(model.decoder) - 1
    return y @ params[f"decoder.{last}.weight"].T + params[f"decoder.{last}.bias"]


def _recurrent(torch, layer, params, prefix, x, state):
    if len(x) == 0:
        zeros = torch.zeros(layer.num_layers * layer.num_directions, layer.hidden_size, dtype=torch.float64)
        return x.new_zeros(0, layer.hidden_size * layer.num_directions), (
            (zeros, zeros) if isinstance(layer, pylstm.LSTM) else zeros
        )
    kind = getattr(torch.nn, type(layer).__name__)
    own = kind(layer.input_size, layer.hidden_size, layer.num_layers, bidirectional=layer.bidirectional).double()
    given = {name: params[prefix + name] for name in layer.params}
    return torch.func.functional_call(own, given, (x,) if state is None else (x, state))


def _context(torch, attention, params, query, keys):
    if len(keys) == 0:
        return torch.zeros(attention.key_size, dtype=torch.float64)
    own = {name: params[f"attention.{name}"] for name in attention.params}
    if attention.score == "additive":
        hidden = torch.tanh(own["query_weight"] @ query + keys @ own["key_weight"].T + own["bias"])
        scores = hidden @ own["v"]
    elif attention.score == "general":
        scores = keys @ own["weight"].T @ query
    else:
        scores = keys @ query / (np.sqrt(attention.query_size) if attention.score == "scaled_dot" else 1.0)
    return torch.softmax(scores, 0) @ keys
