"""Divide images into training and test images, group by group, by a named seed."""

from collections.abc import Sequence

import pandas as pd
import torch

from ..core.seeds import generator_for


def merged_groups(groups: Sequence[str], hashes: Sequence[str]) -> list[str]:
    """The group of each row, after groups that share a picture, by its bytes, are made one."""
    parent: dict[str, str] = {}

    def root(group: str) -> str:
        while group in parent:
            group = parent[group]
        return group

    first: dict[str, str] = {}
    for group, digest in zip(groups, hashes):
        ours, theirs = root(group), root(first.setdefault(digest, group))
        if ours != theirs:
            parent[ours] = theirs
    return [root(group) for group in groups]


def draw_split(groups: Sequence[str], labels: Sequence[int], share: float, name: str) -> list[str]:
    """`train` or `test` for each row: a share of the groups of each class is test, never dividing a group.

    Each class with several groups has one on each side, unless classes that came before it share these groups and have
    them all on one side. A class with one group has it in train. name : of the random stream.
    """
    table = pd.DataFrame({"group": groups, "label": labels})
    side: dict[str, str] = {}
    for label, own in table.groupby("label")["group"].unique().items():
        own = sorted(own)
        wanted = min(max(1, round(share * len(own))), len(own) - 1)
        missing = max(0, wanted - sum(side.get(group) == "test" for group in own))
        order = torch.randperm(len(own), generator=generator_for("own split", name, label)).tolist()
        free = [own[place] for place in order if own[place] not in side]
        side |= dict.fromkeys(free[:missing], "test") | dict.fromkeys(free[missing:], "train")
    return [side[group] for group in groups]
