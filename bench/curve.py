"""The exact seen-absent curve: time, growth with N, and the ratio to re-scoring every breakpoint.

    python bench/curve.py            # about half a minute on 2 cores
"""

import math
from functools import partial

import torch
from timing import best_of

from analysis_lib import ClassSplit, seen_absent_curve, shift_logits

torch.set_num_threads(2)
SAMPLE = 40  # breakpoints that are re-scored; the loop's full time is this part scaled up


def problem(n, num_classes=1000):
    random = torch.Generator().manual_seed(n)
    return torch.randn(n, num_classes, generator=random), torch.randint(num_classes, (n,), generator=random), ClassSplit(num_classes, range(num_classes // 2))


def rescore(logits, labels, split, gammas):
    seen = split.is_seen(labels)
    for gamma in gammas:
        right = shift_logits(logits, split, gamma).argmax(1) == labels
        right[seen].double().mean(), right[~seen].double().mean()


logits, labels, split = problem(10_000)
curve = seen_absent_curve(logits, labels, split)
ours = best_of(5, lambda: seen_absent_curve(logits, labels, split))
picked = curve.gamma[:: len(curve.gamma) // SAMPLE].tolist()
loop = best_of(2, lambda: rescore(logits, labels, split, picked)) * len(curve.gamma) / len(picked)
print(f"N=10,000 C=1,000: {ours:.3f} s for all {len(curve.gamma)} states (limit 0.2 s)")
print(f"re-scoring every state: {loop:.0f} s ({len(picked)} states timed); ratio {loop / ours:,.0f}")
print("growth with N at C=1,000")
times = {}
for n in (2_500, 5_000, 10_000, 20_000, 40_000):
    args = problem(n)
    seconds = best_of(5, partial(seen_absent_curve, *args))
    print(f"  N={n:>6}: {seconds:.4f} s")
    times[n] = seconds
first, last = min(times), max(times)
allowed = last * math.log(last) / (first * math.log(first))
print(f"from N={first:,} to N={last:,}: x{times[last] / times[first]:.1f}; N log N growth gives x{allowed:.1f}")
