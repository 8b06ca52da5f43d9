import math

import pandas as pd
import pytest

from analysis_lib.report.markdown import interval, number, spread, table


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0.1234, 1, 100), "12.3"),
        ((-0.0001, 2), "0.00"),
        ((0.5, 1, 100, True), "+50.0"),
        ((-0.5, 1, 100, True), "-50.0"),
        ((math.nan,), ""),
    ],
)
def test_number(arguments, text):
    assert number(*arguments) == text


def test_a_mean_stands_with_its_spread_and_a_single_value_alone():
    assert spread(pd.Series({"mean": 0.2, "std": 0.01}), digits=1, scale=100) == "20.0 ± 1.0"
    assert spread(pd.Series({"mean": 0.2, "std": math.nan}), digits=1, scale=100) == "20.0"


def test_an_interval_has_two_ends_or_none():
    assert (
        interval(pd.Series({"mean": 0.2, "low": -0.1, "high": 0.5}), digits=1, scale=100, sign=True)
        == "+20.0 [-10.0, +50.0]"
    )
    assert interval(pd.Series({"share": 0.2, "low": math.nan, "high": math.nan}), value="share") == "0.20"


def test_a_bar_does_not_end_a_cell():
    lines = table([["P(U|x)", 1]], ["name", "n"]).splitlines()
    assert lines == ["| name | n |", "| --- | --- |", r"| P(U\|x) | 1 |"]
