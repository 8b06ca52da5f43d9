"""Fine-tuned on some of a classifier's classes: what happened to the others, and how to get them back."""

from . import compat

compat.enable_torchvision()  # before anything imports torchvision or timm

from .analysis.accuracy import accuracies
from .analysis.calibration import average_logit_gap, pseudo_cross_validation, seen_absent_curve, shift_logits
from .analysis.decomposition import softmax_decomposition
from .analysis.estimators import matched_share_gamma, stand_in_gamma
from .analysis.ncm import class_means, ncm_scores
from .calibrate import calibrate
from .errors import UserError
from .split import ClassSplit

__all__ = [
    "ClassSplit",
    "UserError",
    "accuracies",
    "average_logit_gap",
    "calibrate",
    "class_means",
    "matched_share_gamma",
    "ncm_scores",
    "pseudo_cross_validation",
    "seen_absent_curve",
    "shift_logits",
    "softmax_decomposition",
    "stand_in_gamma",
]
