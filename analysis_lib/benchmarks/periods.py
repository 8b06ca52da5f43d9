"""Periods of test images: their years, or a few runs of years of nearly equal size."""

import pandas as pd

MOST = 5
UNDATED = "all"


def test_periods(body: pd.DataFrame) -> pd.Series:
    """The period of each row, NaN for a row that is no test row, or has no date while others have one.

    An ordered categorical of names such as `2019` or `2013-2015`. With more than `MOST` years, each year goes to one of
    `MOST` periods by its place among the images in order of time. Without dates, all test rows are of the one period
    `all`.
    """
    test = body["split"] == "test"
    if "date" not in body or body["date"][test].isna().all():
        return pd.Series(UNDATED, body.index).where(test).astype(pd.CategoricalDtype([UNDATED], ordered=True))
    year = body["date"].where(test).str[:4]
    sizes = year.value_counts().sort_index()
    place = list(range(len(sizes)))
    if len(sizes) > MOST:
        middle = sizes.cumsum() - sizes / 2
        place = (MOST * middle / sizes.sum()).astype(int)
    members = pd.Series(sizes.index, sizes.index).groupby(place)
    first, last = members.transform("first"), members.transform("last")
    names = first.where(first == last, first + "-" + last)
    return year.map(names).astype(pd.CategoricalDtype(names.unique(), ordered=True))
