from pathlib import Path

import pandas as pd
import pytest

from analysis_lib import UserError
from analysis_lib.report import blocks
from analysis_lib.report.reference import Reference

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def digits():
    return Reference(REPOSITORY, "digits")


def cells(text):
    """A Markdown table as {first cell: {column: cell}}."""
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines())
    return {row[0]: dict(zip(head, row, strict=True)) for row in rows}


def test_accuracies_are_those_of_the_kept_table_in_percent(digits):
    found = pd.read_csv(digits.folder / "05_calibration.csv").set_index(["checkpoint", "method", "metric"])
    row = found.loc[("fine-tuned", "stand_in", "acc_uy")]
    shown = cells(blocks.accuracy(digits))["absent among all, Acc_U/Y"]
    assert shown["+ stand-ins"] == f"{100 * row['mean']:.1f} ± {100 * row['std']:.1f}"
    assert blocks.mean(digits, "acc_uy", "pre-trained").startswith(shown["pre-trained"])
    assert [name for name in shown if "oracle" in name] == ["+ gamma* (*oracle*)"]


def test_the_rates_are_means_over_seeds_of_the_kept_choices(digits):
    chosen = pd.read_csv(digits.folder / "09_choices.csv")
    own = chosen[(chosen["lr"] == 0.02) & (chosen["method"] == "none")]["acc_sy"]
    row = cells(blocks.learning_rates(digits))[f"0.02, {chosen['epochs'].iloc[0]} epochs"]
    assert row["Acc_S/Y"] == f"{100 * own.mean():.1f} ± {100 * own.std():.1f}"


def test_an_estimate_shows_each_setting_their_median_and_the_worst(digits):
    row = cells(blocks.estimators(digits))["ALG"]
    regrets = [float(text.split()[0]) for name, text in row.items() if name.startswith("lr ")]
    assert len(regrets) == 2
    assert float(row["worst"].split()[0]) == max(regrets)
    assert float(row["median"].split()[0]) == pytest.approx(sum(regrets) / 2, abs=0.011)


def test_every_verdict_is_counted_once(digits):
    counts = [int(blocks.verdicts(digits, verdict)) for verdict in ("holds", "undecided", "does not hold")]
    assert sum(counts) == len(cells(blocks.claims(digits)))


def test_processors_name_their_settings_and_end_with_the_range(tmp_path):
    folder = tmp_path / "docs" / "reference" / "toy"
    folder.mkdir(parents=True)
    rows = {
        "seed": [0, 0],
        "metric": ["acc_uy", "gamma*"],
        "lowest, 1": [0.1, 4.0],
        "native, 2": [0.12, 5.5],
        "range": [0.02, 1.5],
    }
    pd.DataFrame(rows).to_csv(folder / "processors.csv", index=False)
    shown = cells(blocks.processors(Reference(tmp_path, "toy")))
    assert shown["absent among all, Acc_U/Y"] | {"seed 0, n = 1 run each": ""} == {
        "seed 0, n = 1 run each": "",
        "lowest, 1 thread": "10.0",
        "native, 2 threads": "12.0",
        "range": "2.0",
    }
    assert shown["gamma* (*oracle*)"]["range"] == "1.50"


def test_a_row_that_is_not_there_is_one_sentence(digits):
    with pytest.raises(
        UserError, match="the reference has 0 rows with metric 'acc_zz', checkpoint 'fine-tuned'; expected one"
    ):
        blocks.mean(digits, "acc_zz")


def test_every_step_shows_its_peak_and_none_takes_more_than_the_pages_promise(digits):
    kept = pd.read_csv(REPOSITORY / "docs" / "reference" / "memory.csv").set_index("step")
    shown = cells(blocks.TABLES["memory"](digits))
    assert {step: int(row["peak MB"].replace(",", "")) for step, row in shown.items()} == kept["peak_mb"].to_dict()
    assert (
        kept["peak_mb"].max() <= 4000
        and blocks.VALUES["memory_peak"](digits) == f"{kept['peak_mb'].max() / 1000:.1f} GB"
    )
    assert blocks.VALUES["memory_size"](digits) == "50,000 images with 2,048 features and 1,000 logits each"


@pytest.mark.parametrize("area", ["training", "extraction"])
def test_the_table_of_speed_holds_every_rate_of_its_area(digits, area):
    kept = pd.read_csv(REPOSITORY / "docs" / "reference" / "speed.csv")
    expected = kept[kept["area"].str.startswith(area) & (kept["unit"] == "images/s")]
    lines = blocks.TABLES["speed"](digits, area=area).splitlines()[2:]
    assert len(lines) == len(expected) > 0
    for line, row in zip(lines, expected.itertuples()):
        assert f"| {row.name} |" in line
        assert f"| {row.ratio:.2f} |" in line


def test_bfloat16_moves_no_accuracy_by_more_than_its_interval(digits):
    change, room = (float(blocks.VALUES["half_accuracy"](digits, column=key)) for key in ("other", "ours"))
    assert 0 < change < room
