"""The memory that training steps add to a process, next to PyTorch's; the libraries themselves are not counted."""

from __future__ import annotations

from collections.abc import Iterator

from contest import Child, told
from extras import Finding, Options


def run(options: Options) -> Iterator[Finding]:
    if "torch" not in options.peers:
        return
    for case in [case for case in options.cases if "training" in case.modes]:
        mib = []
        for peer in ("pylstm", "torch"):
            child = Child(peer, options.threads)
            answer = child.ask("peak", **told(case), training=True)
            child.close()
            mib.append(answer.get("bytes", 0) / 2**20)
        if all(mib):
            note = f"{mib[0]:.1f} and {mib[1]:.1f} MiB"
            yield Finding(f"{case.name}: memory of training / PyTorch's", mib[0] / mib[1], 1.0, note=note)
