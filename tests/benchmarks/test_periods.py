from itertools import pairwise

import numpy as np
import pandas as pd

from analysis_lib.benchmarks import periods as module
from analysis_lib.benchmarks.manifest import load_manifest

MOST, periods = module.MOST, module.test_periods


def body(dates, split="test"):
    return pd.DataFrame({"split": split, "date": pd.Series(dates, dtype="str")})


def test_few_years_are_a_period_each_in_order_of_time():
    found = periods(body(["2019-07-01", "2017", "2019-01-31", "2022", None]))
    assert found.tolist()[:4] == ["2019", "2017", "2019", "2022"] and found.isna().tolist() == [False] * 4 + [True]
    assert list(found.cat.categories) == ["2017", "2019", "2022"] and found.cat.ordered


def test_many_years_become_a_few_periods_of_nearly_equal_size():
    random = np.random.default_rng(0)
    years = random.integers(1990, 2020, size=3000).astype(str)
    found = periods(body(years))
    sizes = found.value_counts()
    assert len(sizes) == MOST and sizes.min() > 480 and sizes.max() < 720
    spans = [name.split("-") for name in found.cat.categories]
    assert spans[0][0] == "1990" and spans[-1][1] == "2019"
    assert [int(after[0]) - int(before[1]) for before, after in pairwise(spans)] == [1] * (MOST - 1)
    for year, period in zip(years, found):
        first, last = period.split("-")
        assert first <= year <= last


def test_one_year_is_divided_by_months_and_one_month_by_days():
    found = periods(body(["2013-06-01", "2013-09-30", "2013-06-15"]))
    assert found.tolist() == ["2013-06", "2013-09", "2013-06"]
    found = periods(body([f"2013-{month:02d}-01" for month in range(1, 13)]))
    assert len(found.cat.categories) == MOST and found[0].startswith("2013-01 to 2013-0") and found[11].endswith("-12")
    assert periods(body(["2013-06-01", "2013-06-03"])).tolist() == ["2013-06-01", "2013-06-03"]
    assert periods(body(["2013-06-01", "2013-06-01"])).tolist() == ["2013", "2013"]


def test_only_test_rows_have_a_period_and_dates_of_other_rows_make_none():
    rows = pd.concat([body(["2010", "2011"], "train"), body(["2017", "2018"])], ignore_index=True)
    assert periods(rows).isna().tolist() == [True, True, False, False]
    assert list(periods(rows).cat.categories) == ["2017", "2018"]


def test_a_manifest_without_dates_is_one_period():
    manifest = load_manifest("digits")
    found = manifest.periods
    assert found.notna().tolist() == (manifest.body["split"] == "test").tolist()
    assert list(found.cat.categories) == ["all"]
