import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn.decomposition import PCA
from torch.nn.functional import normalize

from analysis_lib.core import files, paths
from analysis_lib.runs import execute, run_set
from analysis_lib.studies import accuracy, gain_prediction


def head_rows(spec):
    return files.read_tensors(paths.run_head(spec.run_id, 0))["weight"]


def cosine(a, b):
    return float(a @ b / a.norm() / b.norm())


def nearest_seen(spec, seen):
    """The mean over the other classes of the largest cosine of their head row with a seen one."""
    rows = head_rows(spec)
    return np.mean([max(cosine(rows[c], rows[s]) for s in seen) for c in range(10) if c not in seen])


def test_dissimilar_classes_lie_at_one_end_and_leave_the_absent_ones_alone(digits, monkeypatch):
    monkeypatch.setattr(type(digits), "outputs", None)  # it looks at no data
    chosen = gain_prediction.dissimilar_seen(digits)
    places = [digits.manifest.class_names.index(name) for name in chosen]
    assert len(chosen) == len(digits.split(digits.specs[0]).seen) and places == sorted(set(places))
    along = PCA(1).fit_transform(normalize(head_rows(digits.specs[0]), dim=1).numpy())[:, 0]
    ends = [set(np.argsort(sign * along)[:5].tolist()) for sign in (1, -1)]
    assert set(places) in ends
    every_choice = [nearest_seen(digits.specs[0], seen) for seen in combinations(range(10), 5)]
    assert nearest_seen(digits.specs[0], places) < np.median(every_choice)
    assert gain_prediction.dissimilar_seen(replace(digits, specs=digits.specs[::-1])) == chosen, (
        "all seeds start from one network"
    )


def test_the_main_direction_is_that_of_the_spread_of_head_rows(digits, monkeypatch):
    """Not of their mean, which all of them share; and the scale of a row does not matter."""
    weight = torch.randn(10, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 3
    weight[[1, 4, 6]] += 2 * torch.linspace(-1, 1, 64)
    monkeypatch.setattr(
        type(digits), "head", lambda self, spec, epoch: (weight * torch.arange(1, 11)[:, None], torch.zeros(10))
    )
    along = PCA(1).fit_transform(normalize(weight, dim=1).numpy())[:, 0]
    chosen = {int(name) for name in gain_prediction.dissimilar_seen(digits)}
    assert chosen in [set(np.argsort(sign * along)[:5].tolist()) for sign in (1, -1)]


def test_the_designed_study_is_the_same_recipe_on_other_classes(digits):
    other, spec = gain_prediction.dissimilar_runs(digits), digits.specs[0]
    assert execute.state(other.specs[0].run_id) == "done"
    assert other.specs == (replace(spec, seen=gain_prediction.dissimilar_seen(digits), record_every=spec.epochs),)
    assert {digits.manifest.class_names[c] for c in other.split(other.specs[0]).seen} == set(
        gain_prediction.dissimilar_seen(digits)
    )
    assert (other.manifest, other.device) == (digits.manifest, digits.device)
    trained = set(other.fine_tuning_outputs(other.specs[0], 0).labels.tolist())
    assert trained == set(other.split(other.specs[0]).seen)


def test_the_comparison_of_splits_holds_both_studies_numbers(digits):
    other = gain_prediction.dissimilar_runs(digits)
    table = gain_prediction.compare_splits(digits, other)
    assert table.groupby("seen", sort=False)["metric"].apply(list).to_dict() == {
        seen: ["head_cosine", "acc_uy", "acc_uu", "ncm_acc_uy", "ausuc"] for seen in ("random", "dissimilar")
    }
    for seen, one, spec in (("random", digits, digits.specs[0]), ("dissimilar", other, other.specs[0])):
        rows = table[table["seen"] == seen].set_index("metric")
        assert rows.loc["head_cosine", "before"] == pytest.approx(nearest_seen(spec, one.split(spec).seen))
        assert math.isnan(rows.loc["head_cosine", "after"])
        ends = (
            accuracy.checkpoints_only(one, accuracy.metrics_by_epoch(one))
            .query(f"seed == {spec.seed}")
            .set_index(["metric", "checkpoint"])["value"]
        )
        for metric in rows.index[1:]:
            before, after = ends[metric, run_set.PRE_TRAINED], ends[metric, run_set.FINE_TUNED]
            assert rows.loc[metric, ["before", "after", "change"]].tolist() == [before, after, after - before]


@pytest.fixture
def classes():
    """Tables as `by_class` makes them, of 12 and 9 classes, three of which have no halves, and 4 splits."""
    random = np.random.default_rng(0)
    columns = [*gain_prediction.PREDICTORS, *gain_prediction.OUTCOMES]
    tables = []
    for seed, n in ((0, 12), (1, 9)):
        whole = pd.DataFrame(random.normal(size=(n, len(columns))), columns=columns)
        whole = whole.assign(absent=[f"c{i + seed}" for i in range(n)])
        frames = [whole.assign(images="all", split=-1, half=-1)]
        for split in range(4):
            for half in (0, 1):
                part = whole.iloc[3:].copy()
                part[columns] += random.normal(size=(n - 3, len(columns)))
                frames.append(part.assign(images="half", split=split, half=half))
            swapped = whole.copy()
            swapped[columns] = random.normal(size=(n, len(columns)))
            frames.append(swapped.assign(images="swapped", split=split, half=-1))
        tables.append(pd.concat(frames, ignore_index=True).assign(seed=seed, n=5))
    return tables


def spearman(a, b):
    return stats.spearmanr(a, b).statistic


def test_correlations_cross_the_halves(classes):
    """By loops over seeds, splits and both directions."""
    table = gain_prediction.correlations(classes)
    assert list(zip(table["predictor"], table["outcome"])) == [
        (p, o) for p in gain_prediction.PREDICTORS for o in gain_prediction.OUTCOMES
    ]
    for row in table.itertuples():
        crossed, own, same, nothing = [], {row.predictor: [], row.outcome: []}, [], []
        for part in classes:
            at = part.set_index(["images", "split", "half"])
            same.append(spearman(*(at.loc[("all", -1, -1), c] for c in (row.predictor, row.outcome))))
            for split in range(4):
                first, second = at.loc[("half", split, 0)], at.loc[("half", split, 1)]
                crossed.append(spearman(first[row.predictor], second[row.outcome]))
                crossed.append(spearman(second[row.predictor], first[row.outcome]))
                for name, found in own.items():
                    found.append(spearman(first[name], second[name]))
                swapped = at.loc[("swapped", split, -1)]
                nothing.append(spearman(swapped[row.predictor], swapped[row.outcome]))
        assert row.mean == pytest.approx(np.mean(crossed)) and -1 <= row.low < row.mean < row.high <= 1
        reliabilities = [np.mean(own[row.predictor]), np.mean(own[row.outcome])]
        assert [row.predictor_reliability, row.outcome_reliability] == pytest.approx(reliabilities)
        assert row.same_images == pytest.approx(np.mean(same))
        assert row.nothing_happened == pytest.approx(np.mean(nothing))
        if min(reliabilities) < 0.1:
            assert math.isnan(row.corrected) and math.isnan(row.corrected_low)
        else:
            scale = math.sqrt(reliabilities[0] * reliabilities[1])
            assert [row.corrected, row.corrected_low] == pytest.approx([row.mean / scale, row.low / scale])
    assert table["corrected"].notna().any()
    counts = table[["n_classes", "n_left_out", "n_seeds"]].drop_duplicates()
    assert counts.to_numpy().tolist() == [[6, 3, 2]]


def test_what_only_the_shared_images_say_vanishes_between_halves(classes):
    """An outcome that is minus the predictor of the same rows, with fresh values in every half."""
    random = np.random.default_rng(1)
    for part in classes:
        part["start"] = random.normal(size=len(part))
        part["ncm_gain"] = -part["start"]
    row = gain_prediction.correlations(classes).set_index(["predictor", "outcome"]).loc[("start", "ncm_gain")]
    assert row["same_images"] == row["nothing_happened"] == pytest.approx(-1)
    assert row["low"] < 0 < row["high"]


def test_the_order_of_rows_does_not_matter(classes):
    shuffled = [
        part.sample(frac=1, random_state=0).sort_values(["images", "split", "half"], kind="stable") for part in classes
    ]
    for part, other in zip(classes, shuffled):
        assert part["absent"].tolist() != other["absent"].tolist()
    pd.testing.assert_frame_equal(gain_prediction.correlations(classes), gain_prediction.correlations(shuffled))


def test_both_splits_are_told_apart(classes):
    table = gain_prediction.both_splits(classes, classes[:1])
    for split, part in (("random", classes), ("dissimilar", classes[:1])):
        rows = table[table["split"] == split].drop(columns="split").reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, gain_prediction.correlations(part))


def test_tidy_keeps_every_number_of_the_whole(classes):
    table = gain_prediction.tidy(classes, classes[:1])
    assert list(table.columns) == ["split", "seed", "absent", "n", "quantity", "value"]
    assert len(table) == (12 + 9 + 12) * (len(gain_prediction.PREDICTORS) + len(gain_prediction.OUTCOMES))
    found = table.set_index(["split", "seed", "absent", "quantity"])["value"].sort_index()
    assert found.index.is_unique
    assert found["random", 1, "c9", "kernel"] == classes[1]["kernel"].iloc[8]
    assert found["dissimilar", 0, "c3", "ncm_gain"] == classes[0]["ncm_gain"].iloc[3]


def test_without_a_class_of_two_clusters_no_correlation_is_told(classes):
    whole = [table[table["images"] != "half"] for table in classes]
    found = gain_prediction.correlations(whole)
    assert found["mean"].isna().all() and (found["n_classes"] == 0).all() and found["same_images"].notna().any()
