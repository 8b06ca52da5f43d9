"""The linear probe: a classifier fitted anew on frozen features, to measure what they hold.

Fitted on labelled target training data of all classes, including the absent ones, it is an oracle, like NCM.
`linear_probe_scores` reaches the optimum of a fixed penalty. `fit_probe` follows the protocol of Mukhoti et al. 2024,
by which concept forgetting is measured: its learning rate is chosen on a part of the training data.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import one_hot

from ...core.errors import UserError
from ..chunks import by_rows
from .ncm import unit_rows

# The inverse of the L2 penalty. Of 1, 10 and 100, the best on held-out training images of an `emoji` development seed.
STRENGTH = 100.0
TOLERANCE = 1e-6  # of the gradient: tight enough that predictions no longer depend on where L-BFGS stops
LEARNING_RATES = (0.01, 0.05, 0.1, 0.5, 1.0)
STEPS = 1000
HELD_OUT = 0.1  # of the training samples, to choose the learning rate
DECAY, BETAS, EPSILON = 0.01, (0.9, 0.999), 1e-8  # of AdamW, torch's defaults


def linear_probe_scores(
    train_features: torch.Tensor, train_labels: torch.Tensor, test_features: torch.Tensor, num_classes: int
) -> torch.Tensor:
    """Scores of test samples by logistic regression fitted on the training features. *Oracle*.

    features : (N, D); train_labels : (N,) int64 of two or more classes in 0..C-1. Returns (N, C) float64, -inf for a
    class without training samples, so that it is never predicted. Multinomial with an L2 penalty on unit features, by
    L-BFGS. Source: paper, linear probing; the penalty, ours.
    """
    from sklearn.linear_model import LogisticRegression  # heavy, and only needed here

    model = LogisticRegression(C=STRENGTH, max_iter=1000, tol=TOLERANCE)
    model.fit(by_rows(unit_rows, train_features).cpu().numpy(), train_labels.cpu().numpy())

    def scores(features: torch.Tensor) -> torch.Tensor:
        found = model.decision_function(unit_rows(features).cpu().numpy())
        if found.ndim == 1:  # of two classes, only the second one's log odds
            found = np.stack([np.zeros_like(found), found], 1)
        every = torch.full((len(features), num_classes), -torch.inf, dtype=torch.float64)
        every[:, torch.from_numpy(model.classes_)] = torch.from_numpy(found)
        return every

    return by_rows(scores, test_features)


@dataclass(frozen=True)
class Probe:
    """A linear classifier: weight (C, D) and bias (C,), float64, and the learning rate that was chosen for it."""

    weight: torch.Tensor
    bias: torch.Tensor
    lr: float

    def scores(self, features: torch.Tensor) -> torch.Tensor:
        """Logits (N, C) of features (N, D), scaled as those of the fit."""
        return features.double() @ self.weight.T + self.bias


def fit_probe(features: torch.Tensor, labels: torch.Tensor, num_classes: int, generator: torch.Generator) -> Probe:
    """A linear probe by the protocol for concept forgetting.

    features : (N, D), scaled by the caller: to unit length, to follow the protocol; labels : (N,) int64 in 0..C-1.
    With each of `LEARNING_RATES`, AdamW fits the cross-entropy of a random nine tenths of the samples. The rate with
    the best accuracy on the other tenth, the smallest of several, then fits all samples. Computed in float64 on the
    CPU. Raises UserError for fewer than two samples. Source: Mukhoti et al. 2024.
    """
    if len(features) < 2 or len(features) != len(labels):
        raise UserError(
            f"a linear probe got {len(features)} samples and {len(labels)} labels; give two samples or more, and a "
            "label for each"
        )
    features, labels = features.double().cpu(), labels.cpu()
    order = torch.randperm(len(labels), generator=generator)
    held = max(1, round(HELD_OUT * len(labels)))
    choosing, fitting = order[:held], order[held:]
    tried = adamw_probes(features[fitting], labels[fitting], num_classes, LEARNING_RATES)
    right = [(probe.scores(features[choosing]).argmax(1) == labels[choosing]).sum().item() for probe in tried]
    best = LEARNING_RATES[right.index(max(right))]
    return adamw_probes(features, labels, num_classes, [best])[0]


def adamw_probes(
    features: torch.Tensor, labels: torch.Tensor, num_classes: int, rates: Sequence[float], steps: int = STEPS
) -> list[Probe]:
    """Softmax regressions from zero by full-batch AdamW, one for each of L learning rates, all at once.

    features : (N, D) float64; labels : (N,) int64. Equal to torch's AdamW on each alone; the products with the features
    are shared, which takes half the time or less. Source: Loshchilov and Hutter 2019.
    """
    n = len(features)
    inputs = torch.cat([features, features.new_ones(n, 1)], 1)  # the last column is the bias's
    transposed = inputs.T.contiguous()
    targets = one_hot(labels, num_classes).to(inputs)[:, None]
    weights = inputs.new_zeros(inputs.shape[1], len(rates), num_classes)
    mean, square = torch.zeros_like(weights), torch.zeros_like(weights)
    lr = torch.tensor(list(rates), dtype=inputs.dtype)[:, None]
    for step in range(1, steps + 1):
        shares = (inputs @ weights.flatten(1)).view(n, len(rates), num_classes).softmax(2)
        gradient = (transposed @ ((shares - targets) / n).flatten(1)).view_as(weights)
        mean.lerp_(gradient, 1 - BETAS[0])
        square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
        scale = (square / (1 - BETAS[1] ** step)).sqrt_().add_(EPSILON)
        weights.mul_(1 - lr * DECAY).sub_(lr / (1 - BETAS[0] ** step) * mean / scale)
    return [Probe(fit[:-1].T.contiguous(), fit[-1].clone(), rate) for fit, rate in zip(weights.unbind(1), rates)]
