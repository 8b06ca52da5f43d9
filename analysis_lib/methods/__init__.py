"""Fine-tuning methods by name. A new one is a file with a `Method`, and a line here.

Imports core, models and training only.
"""

import math
from collections.abc import Sequence
from dataclasses import fields

from ..core.errors import UserError, unknown
from ..core.run_spec import RunSpec
from ..models.petl import TECHNIQUES
from ..training.method import Method
from .averaging import SWA, WiSE
from .distill import Distill, DistillAbsent
from .feature_distance import LDIFS, FeatureDistance
from .finetune import FineTune
from .frozen import BatchNormAffine, BatchNormStatistics, BitFit, FrozenHead, LinearProbe, ProbeThenFineTune
from .head2toe import Head2Toe, VQTSelect
from .l2sp import L2SP
from .label_smoothing import LabelSmoothing
from .lolsgd import LOLSGD, MaskedLOLSGD
from .petl import method_for
from .rank import Rank
from .seen_softmax import SeenSoftmax

SPARING: dict[str, type[Method]] = {  # for any network; `studies.fine_tuning_methods` compares them
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
SELECTING: dict[str, type[Method]] = {"head2toe": Head2Toe, "vqt_select": VQTSelect}
METHODS: dict[str, type[Method]] = SPARING | {name: method_for(found) for name, found in TECHNIQUES.items()} | SELECTING


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


def read_options(name: str, written: Sequence[str]) -> tuple[tuple[str, float | str], ...]:
    """Options of a method from texts `option=value`: sorted pairs of each option and its value, without defaults.

    A value gets the type of the option. Raises UserError for an unknown method or option, and for a value that has not
    that type or is not finite.
    """
    if name not in METHODS:
        raise unknown("method", name, METHODS)
    known = {field.name: field for field in fields(METHODS[name])}
    options: dict[str, float | str] = {}
    for text in written:
        option, equals, value = text.partition("=")
        if not known:
            raise UserError(f"{name} has no options; leave out {text!r}")
        if option not in known:
            raise unknown(f"option of {name}", option, known)
        kind = known[option].type
        try:
            options[option] = kind(value)
            fits = bool(equals) and (kind is str or math.isfinite(options[option]))
        except ValueError:
            fits = False
        if not fits:
            raise UserError(f"{text!r} is no {option}=VALUE with a value of type {kind.__name__}; correct the option")
    return tuple(sorted((option, value) for option, value in options.items() if value != known[option].default))


def describe_methods() -> list[str]:
    """One line a method: its name, its title, and its options with their defaults."""
    lines = []
    for name, method in METHODS.items():
        options = ", ".join(f"{field.name}={field.default}" for field in fields(method))
        lines.append(f"{name:22} {method.title}{f'; {options}' if options else ''}")
    return lines


def method_of(spec: RunSpec) -> Method:
    """The method of a run. Raises as `create_method`."""
    return create_method(spec.method, dict(spec.options))
