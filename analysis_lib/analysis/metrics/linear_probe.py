"""The linear probe: a classifier fitted anew on frozen features, to measure what they hold.

It is fitted on labelled target training data of all classes, including the absent ones. So it is an oracle, like NCM.
"""

import numpy as np
import torch
from torch.nn.functional import normalize

# The inverse of the L2 penalty. Of 1, 10 and 100, the best on held-out training images of an `emoji` development seed.
STRENGTH = 100.0
TOLERANCE = 1e-6  # of the gradient: tight enough that predictions no longer depend on where L-BFGS stops


def linear_probe_scores(
    train_features: torch.Tensor, train_labels: torch.Tensor, test_features: torch.Tensor, num_classes: int
) -> torch.Tensor:
    """Scores of test samples by logistic regression fitted on the training features. *Oracle*.

    features : (N, D); train_labels : (N,) int64 of two or more classes in 0..C-1. Returns (N, C) float64, -inf for a
    class without training samples, so that it is never predicted. Multinomial with an L2 penalty on unit features, by
    L-BFGS. Source: paper, linear probing; the penalty, ours.
    """
    from sklearn.linear_model import LogisticRegression  # heavy, and only needed here

    unit, test_unit = (normalize(f.double(), dim=1).cpu().numpy() for f in (train_features, test_features))
    model = LogisticRegression(C=STRENGTH, max_iter=1000, tol=TOLERANCE).fit(unit, train_labels.cpu().numpy())
    found = model.decision_function(test_unit)
    if found.ndim == 1:  # of two classes, only the second one's log odds
        found = np.stack([np.zeros_like(found), found], 1)
    scores = torch.full((len(test_features), num_classes), -torch.inf, dtype=torch.float64)
    scores[:, torch.from_numpy(model.classes_)] = torch.from_numpy(found)
    return scores
