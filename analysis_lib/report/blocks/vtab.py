"""VTAB-1k's published accuracies."""

from ..markdown import number, table


def vtab_1k(ref) -> str:
    """The published mean accuracies of each group of tasks, in percent."""
    found = ref.shared("vtab_1k_published")
    wide = found.pivot(index=["method", "title"], columns="group", values="accuracy")
    wide = wide.reindex(found[["method", "title"]].drop_duplicates())[found["group"].unique()]
    rows = [
        [title, f"`{method}`", *(number(value, digits=2, scale=100) for value in row)]
        for (method, title), row in zip(wide.index, wide.to_numpy())
    ]
    return table(rows, ["n = 1 seed", "here", *wide.columns])
