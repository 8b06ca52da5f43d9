"""Periods of test images: their years, months or days, or a few runs of these of nearly equal size."""

import pandas as pd

MOST = 5
UNITS = (4, 7, 10)  # the letters of an ISO date that are its year, its month and its day
UNDATED = "all"


def test_periods(body: pd.DataFrame) -> pd.Series:
    """The period of each row, NaN for a row that is no test row, or has no date while others have one.

    An ordered categorical of names such as `2019` or `2013-2015`. Test images of one year have their months as periods,
    such as `2013-06` or `2013-06 to 2013-08`, and those of one month their days. With more than `MOST` of them, each
    goes to one of `MOST` periods by its place among the images in order of time. Without dates, all test rows are of
    the one period `all`.
    """
    test = body["split"] == "test"
    if "date" not in body or body["date"][test].isna().all():
        return pd.Series(UNDATED, body.index).where(test).astype(pd.CategoricalDtype([UNDATED], ordered=True))
    dates = body["date"].where(test)
    unit = next((unit for unit in UNITS if dates.str[:unit].nunique() > 1), UNITS[0])
    times = dates.str[:unit]
    sizes = times.value_counts().sort_index()
    place = list(range(len(sizes)))
    if len(sizes) > MOST:
        middle = sizes.cumsum() - sizes / 2
        place = (MOST * middle / sizes.sum()).astype(int)
    members = pd.Series(sizes.index, sizes.index).groupby(place)
    first, last = members.transform("first"), members.transform("last")
    names = first.where(first == last, first + ("-" if unit == UNITS[0] else " to ") + last)
    return times.map(names).astype(pd.CategoricalDtype(names.unique(), ordered=True))
