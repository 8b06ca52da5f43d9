import pandas as pd
import pytest

from analysis_lib.report import blocks
from analysis_lib.report.reference import Reference


@pytest.fixture
def reference(tmp_path):
    folder = tmp_path / "docs" / "reference" / "toy"
    folder.mkdir(parents=True)
    rows = []
    for period in (2017, 2019):
        for checkpoint, methods in (("pre-trained", ("none", "gamma* (oracle)")), ("fine-tuned", ("none", "alg"))):
            for method in methods:
                metrics = ("gamma", "acc_sy", "acc_uy", "acc_yy", "regret", "ausuc")
                rows += [(period, checkpoint, method, metric, 0.123, 0.01, 3) for metric in metrics]
    columns = ["period", "checkpoint", "method", "metric", "mean", "std", "n"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "12_periods.csv", index=False)
    claim = ("ALG: its regret grows", "early", "does not hold", 0.0512, 0.031, 0.0714, 2e-5, 253, 3)
    columns = ["claim", "family", "verdict", "mean", "low", "high", "p", "n_samples", "n_seeds"]
    pd.DataFrame([claim], columns=columns).to_csv(folder / "12_claims.csv", index=False)
    return Reference(tmp_path, "toy")


def test_every_period_shows_its_gammas_and_the_network_before(reference):
    head, _, *lines = blocks.temporal(reference).splitlines()
    assert "n = 3 seeds" in head and len(lines) == 6
    assert lines[0] == "| 2017 | *pre-trained* | 0.12 ± 0.01 |" + " 12.3 ± 1.0 |" * 5
    assert [line.split(" | ")[1] for line in lines[1:3]] == ["no shift", "ALG"]


def test_claims_are_in_points_with_their_interval(reference):
    line = blocks.temporal_claims(reference).splitlines()[-1]
    assert "**does not hold** | +5.1 [+3.1, +7.1] | < 0.001 | 253 x 3" in line
