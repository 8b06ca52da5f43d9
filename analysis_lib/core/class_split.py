"""Which classes were seen in fine-tuning, and which were left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from .errors import UserError


@dataclass(frozen=True)
class ClassSplit:
    """Which of `num_classes` classes were seen in fine-tuning (paper section 3).

    seen : class indices, stored sorted. Raises UserError for an index out of range or given twice, and when the
    seen or the absent set is empty.
    """

    num_classes: int
    seen: Sequence[int]

    def __post_init__(self):
        seen = sorted(int(c) for c in self.seen)
        object.__setattr__(self, "seen", tuple(seen))
        outside = [c for c in seen if not 0 <= c < self.num_classes]
        if outside:
            raise UserError(f"seen class {outside[0]} is outside 0..{self.num_classes - 1}; give indices of the {self.num_classes} classes")
        if len(set(seen)) < len(seen):
            raise UserError("a seen class is given twice; give each class once")
        if not seen:
            raise UserError("the seen set is empty; name at least one class of the fine-tuning data")
        if len(seen) == self.num_classes:
            raise UserError(f"the absent set is empty: all {self.num_classes} classes are seen; leave at least one out")

    @cached_property
    def absent(self) -> tuple[int, ...]:
        return tuple(sorted(set(range(self.num_classes)) - set(self.seen)))

    @cached_property
    def seen_mask(self) -> torch.Tensor:
        """(C,) bool, on the CPU."""
        mask = torch.zeros(self.num_classes, dtype=torch.bool)
        mask[list(self.seen)] = True
        return mask

    def is_seen(self, labels: torch.Tensor) -> torch.Tensor:
        """(N,) bool on the device of `labels`: whether each label is a seen class."""
        return self.seen_mask.to(labels.device)[labels]
