"""Measure the audit beside what a user would write instead, in one run, and print the table.

    python benchmarks/auditing.py                    # 1e6 neurons
    python benchmarks/auditing.py RECORDING.npz ...  # and recordings of any size, by the audit alone

The contenders take turns and medians are compared, so that a busy machine slows all of them alike. One thread.
"""

import os
import resource
import sys
import time
from statistics import median

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402  (after the number of threads is set)
from scipy import stats  # noqa: E402

from dropstats import Layer, Recording  # noqa: E402
from dropstats.auditing import audit  # noqa: E402

TURNS = 7


def by_hand(kept, p):
    """Do three of the twelve tests the plain way: the total, each neuron, all pairs of neurons."""
    trials, n = kept.shape
    dropped = ~kept
    smallest = stats.binomtest(int(dropped.sum()), trials * n, p).pvalue
    smallest = min([smallest, *(stats.binomtest(int(k), trials, p).pvalue for k in dropped.sum(axis=0))])
    return smallest, np.abs(np.corrcoef(dropped.T) - np.eye(n)).max()


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main():
    print("| what | neurons | time | ratio | memory of the process |")
    print("|---|---:|---:|---:|---:|")
    for p in (0.1, 0.5):
        kept = Layer(1000, p).sample(1000, rng=0)
        recording = Recording.from_masks(kept, p=p)
        audit(recording)  # imports and the plans of the FFT are not what is measured
        turns = [
            (seconds(lambda r=recording: audit(r)), seconds(lambda k=kept, p=p: by_hand(k, p))) for _ in range(TURNS)
        ]
        ours, plain = (median(times) for times in zip(*turns, strict=True))
        print(f"| audit, all tests, p = {p} | 1e6 | {ours:.2f} s |  | {memory()} |")
        print(f"| scipy.binomtest of total and neurons, numpy.corrcoef | 1e6 | {plain:.2f} s | {plain / ours:.1f} | |")
    for path in sys.argv[1:]:
        recording = Recording.load(path)
        times = median(seconds(lambda r=recording: audit(r)) for _ in range(3))
        print(f"| audit, all tests, {recording.source[:40]} | {recording.judged:.3g} | {times:.1f} s |  | {memory()} |")


def memory():
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB"


if __name__ == "__main__":
    main()
