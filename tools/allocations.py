"""Fails every allocation of the core once, in each of these works, with failing_allocations.cpp preloaded.

python tools/allocations.py path/to/failing_allocations.so: what each work asked for how often, or an assertion.
"""

from __future__ import annotations

import ctypes
import sys

import numpy as np

import pylstm


def works():
    """Name -> a function that makes what a work needs and returns the work, whose result is bytes."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 6, 5)).astype(np.float32)
    lengths = rng.integers(0, 13, 6)
    table = rng.standard_normal((640, 5))

    def layer(cls=pylstm.LSTM, **options):
        return cls(5, 48, 2, seed=0, **options)

    def grads_of(output, backward):
        grads = backward(output)
        return b"".join(a.tobytes() for a in (grads.x, *grads.params.values()))

    def network():
        return lambda: layer()(x, num_threads=1)[0].tobytes()

    def inference():
        own = layer(bidirectional=True)
        own(x)
        return lambda: own(x, lengths=lengths, num_threads=2)[0].tobytes()

    def forward():
        own = layer(pylstm.GRU)
        own(x)
        return lambda: own.forward(x, num_threads=2)[0].tobytes()

    def backward():
        own = layer(proj_size=16)
        output, _, run = own.forward(x, lengths=lengths, num_threads=2)
        return lambda: grads_of(output, run)

    def first_backward():  # packs the transposed weights
        def work():
            output, _, run = kept.forward(x)
            return grads_of(output, run)

        kept = layer(pylstm.GRU, reset_after=False)
        kept(x)
        return work

    def stream():
        own = layer()
        own(x)
        return lambda: own.stream(6, num_threads=2).step(x[0]).tobytes()

    def steps():
        own = layer().stream(6)

        def work():
            own.reset()
            return own.step(x[0]).tobytes() + own(x).tobytes()

        return work

    def adam():
        own = layer()
        output, _, run = own.forward(x)
        grads, start = run(output).params, own.state_dict()

        def work():
            own.load_state_dict(start)
            pylstm.Adam().step(own, grads)
            return b"".join(p.tobytes() for p in own.params.values())

        return work

    def rows_inference():  # multiplied for the call, then once for all
        embedding = pylstm.Embedding(20, 5, seed=0)
        ids = (np.arange(72) * 7 % 20).reshape(12, 6)

        def work():
            own = pylstm.GRU(5, 16, seed=0)
            found = [own(embedding.table_rows(ids), lengths=lengths, num_threads=2)[0].tobytes() for _ in range(3)]
            assert own._kept.table is not None
            return b"".join(found)

        return work

    def rows_training():  # more distinct rows than a chunk of steps has
        own, rows = layer(), pylstm.TableRows(table, np.arange(780).reshape(130, 6) % 640)
        own.forward(x)[2]()

        def work():
            output, _, run = own.forward(rows, num_threads=2)
            grads = run(output)
            return b"".join(a.tobytes() for a in (grads.x.rows, grads.x.values, *grads.params.values()))

        return work

    made = (
        network, inference, forward, backward, first_backward, stream, steps, adam, rows_inference, rows_training,
    )  # fmt: skip
    return {f.__name__: f for f in made}


def main() -> None:
    shim = ctypes.CDLL(sys.argv[1])
    for split in (None, (2, 1, 1), (1, 2, 1)):
        pylstm._core.force_plan(split, once=1)
        for name, prepare in works().items():
            want = prepare()()
            for number in range(10_000):
                pylstm.release_memory()  # or kept buffers would do
                work = prepare()
                pylstm.release_memory()
                shim.fail_allocation(number)
                try:
                    got = work()
                except MemoryError:
                    got = None
                over = shim.allocations_left() >= 0
                shim.fail_allocation(-1)
                assert over == (got is not None) or got == want, (split, name, number, "neither MemoryError nor result")
                assert work() == want, (split, name, number, "the next call is wrong")
                if over:
                    break
            else:
                raise AssertionError((split, name, "no end"))
            assert number > 3, (split, name, "hardly any allocation was seen")
            print(split, name, number, flush=True)
    print("fine")


if __name__ == "__main__":
    main()
