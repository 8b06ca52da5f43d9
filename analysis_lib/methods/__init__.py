"""Fine-tuning methods by name. A new one is a file with a `Method`, and a line here.

Imports core, models and training only.
"""

from ..core.errors import UserError, unknown
from ..core.run_spec import RunSpec
from ..training.method import Method
from .averaging import SWA, WiSE
from .distill import Distill, DistillAbsent
from .feature_distance import LDIFS, FeatureDistance
from .finetune import FineTune
from .frozen import BatchNormAffine, BatchNormStatistics, BitFit, FrozenHead, LinearProbe, ProbeThenFineTune
from .l2sp import L2SP
from .label_smoothing import LabelSmoothing
from .lolsgd import LOLSGD, MaskedLOLSGD
from .rank import Rank
from .seen_softmax import SeenSoftmax

METHODS: dict[str, type[Method]] = {
    "finetune": FineTune,
    "seen_softmax": SeenSoftmax,
    "linear_probe": LinearProbe,
    "frozen_head": FrozenHead,
    "batchnorm_statistics": BatchNormStatistics,
    "batchnorm_affine": BatchNormAffine,
    "bitfit": BitFit,
    "lp_ft": ProbeThenFineTune,
    "l2sp": L2SP,
    "ldifs": LDIFS,
    "feature_distance": FeatureDistance,
    "distill": Distill,
    "distill_absent": DistillAbsent,
    "rank": Rank,
    "label_smoothing": LabelSmoothing,
    "lolsgd": LOLSGD,
    "lolsgd_masked": MaskedLOLSGD,
    "swa": SWA,
    "wise": WiSE,
}


def create_method(name: str, options: dict[str, float | str]) -> Method:
    """A method with its options; those not given are the method's own defaults.

    Raises UserError for an unknown name or option, and for a value that the method does not allow.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    try:
        return METHODS[name](**options)
    except TypeError as error:
        raise UserError(f"method {name!r} does not take these options ({error}); correct the options") from None


def method_of(spec: RunSpec) -> Method:
    """The method of a run. Raises as `create_method`."""
    return create_method(spec.method, dict(spec.options))
