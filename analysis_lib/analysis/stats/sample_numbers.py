"""Numbers that are means over test samples, of several networks and seeds, and their paired differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from . import intervals
from .claims import Contrast, State


@dataclass(frozen=True)
class SampleNumbers:
    """Numbers of the test samples for K seeds, M names and C classes.

    names : M states with a metric.
    whole (K, M), without (K, M, C) : each number, and the same without each class, NaN for a class it does not use.
    sizes (M,) : samples of the seed with the fewest.
    """

    names: list[tuple[State, str]]
    whole: torch.Tensor
    without: torch.Tensor
    sizes: torch.Tensor

    def differences(self, contrasts: Sequence[Contrast]) -> pd.DataFrame:
        """The contrasts, in order: the columns of `intervals.estimate`, n_samples and n_seeds.

        A class that only one of the two numbers uses leaves the other as it is.
        """
        place = {name: row for row, name in enumerate(self.names)}
        a = [place[contrast.a, contrast.metric] for contrast in contrasts]
        b = [place[contrast.b, contrast.metric] for contrast in contrasts]
        known = [self.without.where(~self.without.isnan(), self.whole[..., None])[:, rows] for rows in (a, b)]
        neither = self.without[:, a].isnan() & self.without[:, b].isnan()
        without = (known[0] - known[1]).where(~neither, torch.nan)
        table = intervals.estimate(self.whole[:, a] - self.whole[:, b], without)
        return table.assign(n_samples=self.sizes[a].minimum(self.sizes[b]).numpy(), n_seeds=len(self.whole))

    def levels(self, names: Sequence[tuple[State, str]]) -> pd.DataFrame:
        """The numbers of these names, in order: the columns of `intervals.estimate`, n_samples and n_seeds."""
        place = {name: row for row, name in enumerate(self.names)}
        rows = [place[name] for name in names]
        table = intervals.estimate(self.whole[:, rows], self.without[:, rows])
        return table.assign(n_samples=self.sizes[rows].numpy(), n_seeds=len(self.whole))

    def with_means(self, groups: Mapping[State, Sequence[State]]) -> "SampleNumbers":
        """The numbers, and for every group the mean of its states, of each metric that all of them have."""
        place = {name: row for row, name in enumerate(self.names)}
        metrics = dict.fromkeys(metric for _, metric in self.names)
        names, whole, without, sizes = list(self.names), [self.whole], [self.without], [self.sizes]
        for mean, states in groups.items():
            for metric in metrics:
                rows = [place[state, metric] for state in states if (state, metric) in place]
                if rows and len(rows) == len(states):
                    names.append((mean, metric))
                    whole.append(self.whole[:, rows].mean(1, keepdim=True))
                    without.append(self.without[:, rows].mean(1, keepdim=True))
                    sizes.append(self.sizes[rows].amin(0, keepdim=True))
        return SampleNumbers(names, torch.cat(whole, 1), torch.cat(without, 1), torch.cat(sizes))


def sample_numbers(
    values: Sequence[Mapping[tuple[State, str], torch.Tensor]],
    areas: Sequence[Mapping[State, tuple[torch.Tensor, torch.Tensor]]],
    labels: torch.Tensor,
) -> SampleNumbers:
    """The means of sample values, and AUSUC of some states, with what they are without each class.

    values : for each seed, the value of every sample (N,) under its name, NaN outside the metric's group. areas : for
    each seed, what every sample adds to AUSUC (`curve.ausuc_parts`), NaN but for seen samples, and NaN but for absent
    ones. labels : (N,) int64, the same samples for all seeds. Raises UserError as `intervals.leave_one_out`.
    """
    blocks = [torch.stack(list(seed.values())) for seed in values]
    whole, without = intervals.leave_one_out(blocks, labels)
    sizes = torch.stack([(~block.isnan()).sum(1) for block in blocks]).amin(0)
    # A seen class takes its samples out of the mean over S, an absent one out of the mean over U; both are AUSUC.
    by_group = [[torch.stack([pair[group] for pair in seed.values()]) for seed in areas] for group in (0, 1)]
    area, without_seen = intervals.leave_one_out(by_group[0], labels)
    _, without_absent = intervals.leave_one_out(by_group[1], labels)
    counts = [(~by_group[0][k].isnan() | ~by_group[1][k].isnan()).sum(1) for k in range(len(areas))]
    area_sizes = torch.stack(counts).amin(0)
    without_any = without_seen.where(~without_seen.isnan(), without_absent)
    return SampleNumbers(
        names=[*values[0], *((state, "ausuc") for state in areas[0])],
        whole=torch.cat([whole, area], dim=1),
        without=torch.cat([without, without_any], dim=1),
        sizes=torch.cat([sizes, area_sizes]),
    )
