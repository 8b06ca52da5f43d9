"""Fine-tuning methods by name. A new one is a file with a `Method`, and a line here.

Imports core and training only.
"""

from ..core.errors import UserError, unknown
from ..core.run_spec import RunSpec
from ..training.method import Method
from .finetune import FineTune

METHODS: dict[str, type[Method]] = {"finetune": FineTune}


def method_of(spec: RunSpec) -> Method:
    """The method of a run with its options. Raises UserError for an unknown name or option."""
    if spec.method not in METHODS:
        raise unknown("method", spec.method, METHODS)
    try:
        return METHODS[spec.method](**dict(spec.options))
    except TypeError as error:
        raise UserError(
            f"method {spec.method!r} does not take these options ({error}); correct `options` of the run"
        ) from None
