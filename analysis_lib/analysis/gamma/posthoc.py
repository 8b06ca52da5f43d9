"""Post-hoc baselines: corrections of a fine-tuned classifier other than one shift of the absent logits.

Each takes `PostHoc`, scores every test sample independently and uses no test label. Letters: N test samples, M
fine-tuning samples, C classes, D feature width; z logits, w head weights; G is S (seen) or U (absent).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import normalize

from ...core.class_split import ClassSplit
from ...core.errors import UserError
from ..metrics.ncm import ncm_scores


@dataclass(frozen=True)
class PostHoc:
    """The data that a baseline may use. Fine-tuning data: seen classes only, in eval mode without augmentation.

    features (N, D), logits (N, C) : of the fine-tuned model on the test samples.
    weight (C, D), bias (C,) : its linear head; zeros for a head without bias.
    pretrained_weight (C, D), pretrained_bias (C,) : the head before fine-tuning.
    train_logits (M, C), train_labels (M,) int64 : of the fine-tuned model on the fine-tuning data.
    pretrained_train_logits (M, C) : of the model before fine-tuning, on the same rows.
    class_means (C, D) : `ncm.class_means` of labelled training data of all classes, *oracle*; NaN for a class without.

    Raises UserError for shapes that do not fit, numbers that are not finite, absent labels and no fine-tuning data.
    """

    split: ClassSplit
    features: torch.Tensor
    logits: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor
    pretrained_weight: torch.Tensor
    pretrained_bias: torch.Tensor
    train_logits: torch.Tensor
    train_labels: torch.Tensor
    pretrained_train_logits: torch.Tensor
    class_means: torch.Tensor

    def __post_init__(self):
        n, m, c, d = len(self.features), len(self.train_labels), self.split.num_classes, self.features.shape[-1]
        wanted = {
            "features": (n, d),
            "logits": (n, c),
            "weight": (c, d),
            "bias": (c,),
            "pretrained_weight": (c, d),
            "pretrained_bias": (c,),
            "train_logits": (m, c),
            "train_labels": (m,),
            "pretrained_train_logits": (m, c),
            "class_means": (c, d),
        }
        for name, shape in wanted.items():
            values = getattr(self, name)
            if tuple(values.shape) != shape:
                raise UserError(f"{name} have shape {tuple(values.shape)}; expected {shape}")
            if name != "class_means" and not values.isfinite().all():
                raise UserError(f"{name} hold numbers that are not finite; check the model that made them")
        if not m:
            raise UserError("the post-hoc baselines need fine-tuning data; there are no rows")
        wrong = int((~torch.isin(self.train_labels, self.train_labels.new_tensor(self.split.seen))).sum())
        if wrong:
            raise UserError(
                f"the post-hoc baselines take fine-tuning data of seen classes only; {wrong} rows have other labels, "
                "drop them"
            )


def logit_adjustment(inputs: PostHoc) -> torch.Tensor:
    """z_c - log pi_c with pi_c = (n_c + 1) / (M + C), n_c the fine-tuning samples of class c; (N, C) float64.

    An absent class has no samples, so only the added 1 gives it a prior. With n samples in each seen class this is a
    shift by gamma = log(n + 1). Source: Menon et al. 2021, post-hoc with tau = 1; the added 1 is ours.
    """
    classes = inputs.split.num_classes
    counts = inputs.train_labels.bincount(minlength=classes).double()
    return inputs.logits.double() - ((counts + 1) / (len(inputs.train_labels) + classes)).log()


def group_temperature(inputs: PostHoc) -> torch.Tensor:
    """z_c / T_G with a temperature for each group; (N, C) float64.

    T_G is the spread of the logits within G after fine-tuning over that before, on the fine-tuning data (root mean
    square around the mean of G in each row). No label is used: there is no labelled data to fit T_U, and fitting T_S by
    likelihood on the training data drives it to zero if they are separated. Logits are defined up to a constant per
    row, so rows are centred over all classes first. Acc_S/S and Acc_U/U do not change. Raises UserError for a group
    without spread, such as one of a single class. Source: ours.
    """
    logits = inputs.logits.double()
    scores = logits - logits.mean(1, keepdim=True)
    for group in (inputs.split.seen, inputs.split.absent):
        columns = list(group)
        after = _spread(inputs.train_logits[:, columns])
        before = _spread(inputs.pretrained_train_logits[:, columns])
        if not (after and before):
            raise UserError(
                f"the logits of {len(group)} classes do not differ on the fine-tuning data; a temperature for each "
                "group needs at least two seen and two absent classes, and heads that tell them apart"
            )
        scores[:, columns] *= before / after
    return scores


def _spread(logits: torch.Tensor) -> float:
    """Root mean square of logits around the mean of their row."""
    logits = logits.double()
    return (logits - logits.mean(1, keepdim=True)).square().mean().sqrt().item()


def weight_alignment(inputs: PostHoc) -> torch.Tensor:
    """Logits of a head whose weights all have the mean norm of the absent ones; (N, C) float64.

    w_c becomes w_c / ||w_c|| * mean over U of ||w||. The bias stays: it is no part of the norm. Source: after Zhao et
    al. 2020, who scale the seen classes by one ratio; each class by its own norm as Kang et al. 2020 with tau = 1.
    """
    weight, bias = inputs.weight.double(), inputs.bias.double()
    norm = weight[list(inputs.split.absent)].norm(dim=1).mean()
    return inputs.features.double() @ (norm * normalize(weight, dim=1)).T + bias


def pretrained_head(inputs: PostHoc) -> torch.Tensor:
    """Logits of the head before fine-tuning on the fine-tuned features; (N, C) float64. Source: ours."""
    return inputs.features.double() @ inputs.pretrained_weight.double().T + inputs.pretrained_bias.double()


def nearest_class_mean(inputs: PostHoc) -> torch.Tensor:
    """Cosines with the class means, (N, C) float64; -inf for a class without a mean.

    They are not logits: they have no temperature. *Oracle*: the means use labelled data of the absent classes too.
    Source: paper section 4.
    """
    return ncm_scores(inputs.features, inputs.class_means)


def group_posterior(inputs: PostHoc) -> torch.Tensor:
    """Scores that select the group of the larger posterior, then the best class in it; (N, C) float64.

    The posterior of G is P(G|x), the softmax mass of G, times the prior of G in the test data over its prior in the
    model. The prior in the test data is |G| / C, all classes being equally frequent. The prior in the model is the mean
    of P(G|x) over the fine-tuning data, which training drives to 1 for S and 0 for U. It is a true prior only if these
    images carry no information on the group; if P(U|x) is rightly small on them, the absent classes are favoured too
    much.

    The logits of each group are shifted so that their maximum is the log of the posterior (up to a constant per row).
    So argmax selects as said, p(c|x, G) does not change, and a constant added to the absent scores still gives a curve.
    The softmax of the scores is no longer P(G|x) p(c|x, G). Source: ours; the change of priors is Saerens et al. 2002.
    """
    logits, train = inputs.logits.double(), inputs.train_logits.double().log_softmax(1)
    scores = torch.empty_like(logits)
    for group in (inputs.split.seen, inputs.split.absent):
        columns = list(group)
        own = logits[:, columns]
        model_prior = train[:, columns].logsumexp((0, 1)) - math.log(len(train))
        scores[:, columns] = (
            own - own.amax(1, keepdim=True) + own.logsumexp(1, keepdim=True) + math.log(len(group)) - model_prior
        )
    return scores


@dataclass(frozen=True)
class Baseline:
    """A post-hoc baseline, and how figures show it.

    apply : the function from the data to scores (N, C).
    title, marker : for figures.
    oracle : whether it uses labels of absent classes.
    scores_are_logits : whether a softmax of its scores is meaningful.
    """

    apply: Callable[[PostHoc], torch.Tensor]
    title: str
    marker: str
    oracle: bool = False
    scores_are_logits: bool = True


BASELINES: dict[str, Baseline] = {
    "logit_adjustment": Baseline(logit_adjustment, "logit adjustment", "1"),
    "group_temperature": Baseline(group_temperature, "group temperature", "2"),
    "weight_alignment": Baseline(weight_alignment, "weight norms aligned", "3"),
    "pretrained_head": Baseline(pretrained_head, "pre-trained head", "x"),
    "group_posterior": Baseline(group_posterior, "group posterior", "4"),
    "ncm": Baseline(nearest_class_mean, "NCM (oracle)", "*", oracle=True, scores_are_logits=False),
}
