"""The exact seen-absent curve against scoring again at every state, against scikit-learn, and against one memory pass.

One pass reads every logit once, as any way to the curve must.
"""

import math
import statistics
from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from rows import CEILING, PART, Row, compare, in_turns, paired
from sklearn.metrics import auc, roc_curve

from analysis_lib import ClassSplit, seen_absent_curve, shift_logits

SAMPLE = 20  # states that the loop scores; its full time is this part scaled up
SIZES = [10_000, 31_600, 100_000, 316_000, 1_000_000]
CLASSES_AT_SCALE = 100


def rows() -> Iterator[Row]:
    problem = make_problem(10_000, 1_000)
    ours, found = partial(seen_absent_curve, *problem), seen_absent_curve(*problem)
    picked = found.gamma[:: len(found.gamma) // SAMPLE]
    assert torch.allclose(rescored(*problem, picked), found.acc_yy[:: len(found.gamma) // SAMPLE])
    assert math.isclose(from_roc(*problem), found.ausuc, rel_tol=1e-9)
    part = len(picked) / len(found.gamma)
    loop = partial(rescored, *problem, picked)
    yield compare("curve", "N=10,000 C=1,000: every state scored again", ours, loop, 100, PART, part, 3)
    yield compare("curve", "N=10,000 C=1,000: scikit-learn's roc_curve", ours, partial(from_roc, *problem), 1)
    yield compare("curve", "N=10,000 C=1,000: one memory pass", ours, problem[0].sum, None, CEILING)
    yield from at_scale()


def at_scale() -> Iterator[Row]:
    logits, labels, split = make_problem(SIZES[-1], CLASSES_AT_SCALE)
    medians = []
    for n in SIZES:
        one_pass = logits[:n].sum
        ours, other = in_turns(partial(seen_absent_curve, logits[:n], labels[:n], split), one_pass, rounds=3)
        medians.append(statistics.median(ours))
    name = f"N={SIZES[-1]:,} C={CLASSES_AT_SCALE}: one memory pass"
    yield Row("curve", name, medians[-1], statistics.median(other), "s", paired(ours, other), None, CEILING)
    exponent = float(np.polyfit(np.log(SIZES), np.log(medians), 1)[0])
    yield Row("curve", f"growth, N={SIZES[0]:,} to {SIZES[-1]:,}", exponent, 1.0, "exponent", 1 / exponent, 0.8)


def make_problem(n: int, num_classes: int) -> tuple[torch.Tensor, torch.Tensor, ClassSplit]:
    """Random logits that know the label a little."""
    random = torch.Generator().manual_seed(n)
    logits = torch.randn(n, num_classes, generator=random)
    labels = torch.randint(num_classes, (n,), generator=random)
    logits[torch.arange(n), labels] += 3
    return logits, labels, ClassSplit(num_classes, range(num_classes // 2))


def rescored(logits, labels, split, gammas) -> torch.Tensor:
    """Acc_Y/Y at each gamma, from the shifted logits."""
    right = [(shift_logits(logits, split, gamma).argmax(1) == labels).double().mean() for gamma in gammas.tolist()]
    return torch.stack(right)


def from_roc(logits, labels, split) -> float:
    """AUSUC by NumPy and scikit-learn: the ROC curve of the gaps of the samples that are right within their group."""
    z, y, seen = logits.numpy(), labels.numpy(), split.is_seen(labels).numpy()
    among_s, among_u = np.array(split.seen), np.array(split.absent)
    z_s, z_u = z[:, among_s], z[:, among_u]
    gaps = z_s.max(1).astype(float) - z_u.max(1)
    right = np.where(seen, among_s[z_s.argmax(1)], among_u[z_u.argmax(1)]) == y
    share_u, share_s, _ = roc_curve(seen[right], gaps[right], drop_intermediate=False)
    return auc(share_u, share_s) * right[seen].mean() * right[~seen].mean()
