"""Random networks that are not a chain, as lists of instructions, which several libraries can run."""

from __future__ import annotations

import numpy as np

import pylstm

BATCH, STEPS, WIDTH, SYMBOLS = 2, 3, 4, 5
SHAPE = (BATCH, STEPS, WIDTH)  # of everything between instructions

UNARY = (
    "tanh", "sigmoid", "relu", "exp", "log", "sqrt", "square", "cube", "inverse", "negative", "softmax", "log_softmax",
    "softmax_over_time", "reverse", "gather", "mask", "newaxis", "reshape", "transpose", "sum", "sum_all", "mean",
    "mean_of_two", "max", "max_all", "where", "detach", "constant_left", "constant_right", "number",
)  # fmt: skip
BINARY = ("add", "subtract", "multiply", "divide", "matmul", "matmul_t", "vectors", "concatenate", "stack", "broadcast")
LAYERS = (
    "linear", "shared_linear", "lstm", "lstm_state", "lstm_steps", "gru", "rnn", "embedding", "chain", "inner",
    "lstm_of_symbols", "rnn_of_symbols", "lookup_twice", "columns",
)  # fmt: skip


class Net(pylstm.Model):
    """Runs a program: each instruction (name, place, other place, seed) appends to what there is."""

    def __init__(self, program, dtype=np.float64):
        self.program = program
        make = {"dtype": dtype}
        self.linears = [pylstm.Linear(WIDTH, WIDTH, seed=1, **make), pylstm.Linear(WIDTH, WIDTH, seed=2, **make)]
        self.cells = {
            "lstm": pylstm.LSTM(WIDTH, WIDTH, batch_first=True, seed=3, **make),
            "gru": pylstm.GRU(WIDTH, WIDTH // 2, batch_first=True, bidirectional=True, seed=4, **make),
            "rnn": pylstm.RNN(WIDTH, WIDTH, 2, batch_first=True, seed=5, **make),
            "wide": pylstm.GRU(WIDTH + 2, WIDTH, batch_first=True, seed=10, **make),
        }
        self.embedding = pylstm.Embedding(SYMBOLS, WIDTH, padding_idx=0, seed=6, **make)
        self.second = pylstm.Embedding(3, 2, seed=11, **make)
        self.chain = pylstm.Sequential([
            pylstm.Linear(WIDTH, WIDTH, seed=7, **make), pylstm.Activation("tanh"),
            pylstm.Residual([pylstm.RNN(WIDTH, WIDTH, batch_first=True, seed=8, **make)]),
        ])  # fmt: skip
        self.inner = Inner(self.linears[1], dtype)

    def run(self, *inputs, lengths=None):
        return run(self.program, list(inputs), lengths, Ours(self))


class Inner(pylstm.Model):
    """A model in the model, which shares a layer with it."""

    def __init__(self, shared, dtype):
        self.own, self.shared = pylstm.Linear(WIDTH, WIDTH, bias=False, seed=9, dtype=dtype), shared

    def run(self, x):
        return self.shared(self.own(x).sigmoid()) + x


class Ours:
    """The instructions in pylstm."""

    def __init__(self, net):
        self.net = net
        self.concatenate, self.stack, self.where = pylstm.concatenate, pylstm.stack, pylstm.where
        self.embed, self.embed_second = net.embedding, net.second

    def amax(self, x, axis):
        return x.max(axis=axis, keepdims=axis is not None)

    def tensor(self, array):
        return array

    def linear(self, k, x):
        return self.net.linears[k](x)

    def chain(self, x):
        return self.net.chain(x)

    def inner(self, x):
        return self.net.inner(x)

    def recurrent(self, name, x, state, lengths):
        return self.net.cells[name](x, state, lengths=lengths)

    def detach(self, x):
        return pylstm.stop_gradient(x)


def run(program, pool, lengths, do):
    """The pool of arrays after the program."""
    for name, i, j, seed in program:
        rng = np.random.default_rng(seed)
        pool.append(step(name, pool[i % len(pool)], pool[j % len(pool)], rng, lengths, do))
    return pool[-1], {"others": pool[-3:-1]}


def symbols(rng, num, do):
    return do.tensor(rng.integers(0, num, (BATCH, STEPS)))


def step(name, a, b, rng, lengths, do):
    number = float(rng.uniform(0.5, 2))
    match name:
        case "tanh" | "sigmoid" | "relu":
            return getattr(a, name)()
        case "exp":
            return a.tanh().exp()
        case "log" | "sqrt":
            return getattr(a**2 + number, name)()
        case "square":
            return a.tanh() ** 2
        case "cube":
            return a.tanh() ** 3
        case "inverse":
            return (a.sigmoid() + number) ** -0.5
        case "negative":
            return -a
        case "softmax" | "log_softmax":
            return getattr(a, name)(-1)
        case "softmax_over_time":
            return a.softmax(1)
        case "reverse":
            return do.concatenate([a[:, 1:], a[:, :1]], 1) * number
        case "gather":
            index = rng.integers(0, STEPS, (STEPS,))
            return a[:, do.tensor(index)] + a[:, -1:, ...]
        case "mask":
            chosen = rng.random((BATCH, STEPS)) < 0.6
            return a + a[do.tensor(chosen)].sum(0)
        case "newaxis":
            return (a[:, None] * a[:, :, None])[:, :, rng.integers(STEPS)]
        case "reshape":
            return a.reshape(BATCH, -1).reshape((STEPS, BATCH, WIDTH)).swapaxes(0, 1)
        case "transpose":
            return a.swapaxes(1, 2).swapaxes(0, 1).swapaxes(0, 2).swapaxes(1, 2).swapaxes(0, 1).reshape(SHAPE)
        case "sum":
            return a + a.sum(1)[:, None]
        case "sum_all":
            return a * a.sum().tanh()
        case "mean":
            return a - a.mean(-1)[..., None]
        case "mean_of_two":
            return a / (1 + a.mean((0, 2))[:, None] ** 2)
        case "max":
            return a * do.amax(a, 1)
        case "max_all":
            return a + do.amax(a.relu(), None)
        case "where":
            return do.where(do.tensor(rng.random((STEPS, WIDTH)) < 0.5), a, a * number)
        case "detach":
            return a * do.detach(a).tanh() + b.tanh()
        case "constant_left":
            return do.tensor(rng.standard_normal((STEPS, 1))) - a
        case "constant_right":
            return a / do.tensor(rng.uniform(1, 2, SHAPE)) @ do.tensor(rng.standard_normal((WIDTH, WIDTH)))
        case "number":
            return (1 - a) * number + number / (a.sigmoid() + 1)
        case "add":
            return a + b
        case "subtract":
            return a - b
        case "multiply":
            return a.tanh() * b
        case "divide":
            return a / (b**2 + number)
        case "matmul":
            return a @ b[:1].swapaxes(1, 2).tanh() @ b[1:] * 0.1
        case "matmul_t":
            return ((a @ b.swapaxes(1, 2)) * 0.3).softmax(-1) @ b
        case "vectors":
            return (
                a + a[0, 0] @ b[0, 1] * 0.1 + (a @ b[1, 1])[..., None].tanh() + (b[0, 0] @ a.swapaxes(1, 2))[..., None]
            )
        case "concatenate":
            return do.concatenate([a[:, :1], b[:, 1:] * number], 1) + do.concatenate([a, b], -1)[..., 2 : 2 + WIDTH]
        case "stack":
            return do.stack([a, b * number], 1).sum(1) + do.stack([a, b], -1)[..., 0]
        case "broadcast":
            return a[:, :1] * b[:1].tanh() + a[..., :1]
        case "linear":
            return do.linear(0, a)
        case "shared_linear":
            return do.linear(1, a) + do.linear(1, b.tanh())
        case "lstm":
            return do.recurrent("lstm", a, None, lengths)[0]
        case "lstm_state":
            h = b.mean(1)[None]
            y, (h_n, c_n) = do.recurrent("lstm", a, (h.tanh(), h * 0.5), lengths)
            return y + (h_n * c_n).swapaxes(0, 1)
        case "lstm_steps":
            state, outputs = None, []
            for t in range(STEPS):
                y, state = do.recurrent("lstm", a[:, t : t + 1] + (outputs[-1] if outputs else 0), state, None)
                outputs.append(y)
            return do.concatenate(outputs, 1)
        case "gru":
            y, h_n = do.recurrent("gru", a, None, lengths)
            return y + do.concatenate([h_n[0], h_n[1]], -1)[:, None]
        case "rnn":
            y, h_n = do.recurrent("rnn", a, do.stack([b[:, 0], b[:, 1]], 0).tanh(), lengths)
            return y * h_n[0][:, None]
        case "embedding":
            return a + do.embed(do.tensor(rng.integers(0, SYMBOLS, (BATCH, STEPS))))
        case "lstm_of_symbols":
            h = b.mean(1)[None]
            x = do.embed(symbols(rng, SYMBOLS, do))
            y, (h_n, c_n) = do.recurrent("lstm", x, (h.tanh(), h * 0.5) if number < 1 else None, lengths)
            return y + (h_n * c_n).swapaxes(0, 1) + a
        case "rnn_of_symbols":
            y, h_n = do.recurrent("rnn", do.embed(symbols(rng, SYMBOLS, do)), None, lengths)
            return y * h_n[0][:, None] + a
        case "lookup_twice":
            x = do.embed(symbols(rng, SYMBOLS, do))
            first = do.recurrent("lstm", x, None, lengths)[0]
            other = x * number if number < 1.2 else do.recurrent("gru", x, None, lengths)[0]
            return a * first + other + do.recurrent("rnn", x, None, None)[0]
        case "columns":
            x = do.concatenate([do.embed(symbols(rng, SYMBOLS, do)), do.embed_second(symbols(rng, 3, do))], -1)
            y = do.recurrent("wide", x, None, lengths)[0]
            return y + x[..., 2:] * a if number < 1 else y * a
        case "chain":
            return do.chain(a)
        case "inner":
            return do.inner(a)
    raise AssertionError(name)
