"""What the cost model would do on other machines: the plan and the speed-up it expects for more threads than are here.

    python bench/scaling.py --cases all --threads 1,2,8,16,64

Nothing is timed. The model's caches are this machine's, and it knows of one memory only: no NUMA.
"""

from __future__ import annotations

import argparse

from cases import Case, make_data, select
from peers.pylstm_peer import Peer


def lines(case: Case, training: bool, threads: list[int]) -> list[str]:
    """One line per number of threads: how many times faster than on the first, and the plan."""
    peer = Peer(case, make_data(case), training=training, threads=1)
    found = []
    first = 0.0
    for count in threads:
        peer.threads = count
        expected = peer.prediction()
        if expected is None:
            return []
        first = first or expected["cycles"]
        found.append(f"  {count:>4} threads  x {first / expected['cycles']:5.2f}  {expected['plan']}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", default="all", help="as in run.py")
    parser.add_argument("--threads", default="1,2,8,16,64", help="with commas")
    args = parser.parse_args()
    try:
        cases = select(args.cases.split(","))
        threads = [int(word) for word in args.threads.split(",")]
    except ValueError as error:
        parser.error(str(error))
    for case in cases:
        for mode in case.modes:
            print(f"\n{case.name} {mode}: {case.shape}")
            print("\n".join(lines(case, mode == "training", threads)))


if __name__ == "__main__":
    main()
