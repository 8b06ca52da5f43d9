"""Label shift: where absent samples are rarer or more frequent than their classes.

For every share of absent samples, a pool of unlabelled test images has this share. Estimators of gamma see the pool, or
are told a share: that of the classes, the true one, or the one estimated from the pool. They are scored where the shift
happens: the accuracy is (1 - share) Acc_S/Y + share Acc_U/Y over all test images, among them those of the pool.
"""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import torch

from ..analysis.gamma.curve import CurvePoint, accuracy_at_share, shift_logits
from ..analysis.gamma.estimators import MATCHED, MATCHED_STAND_IN, NONE, ORACLE, estimate_gamma
from ..analysis.gamma.estimators.absent_share import estimate_absent_share, group_gaps
from ..analysis.gamma.estimators.share_baselines import black_box_share, posterior_em_share
from ..analysis.gamma.estimators.stand_in import stand_in_gaps
from ..analysis.metrics.accuracy import max_over
from ..analysis.stats.bootstrap import draw_cluster_resamples, resampled_means
from ..core.seeds import generator_for
from ..runs.run_set import RunSet
from . import calibration
from .shifted_pools import Pool, cell_name, pools

METHODS = ("stand_in", "transported_cv", MATCHED, MATCHED_STAND_IN)
CLASSES, TRUE, ESTIMATED, NOTHING = "classes", "true", "estimated", "nothing"  # the share that a method is told
ABSENT_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
HELD_OUT = "held-out gaps"  # the estimate of the share; the others are for comparison
FINE_TUNING, EM, BLACK_BOX = "fine-tuning gaps", "EM on the posterior", "BBSE with stand-ins"


def estimates(cells: dict[tuple[float, int], RunSet], absent_shares: Sequence[float] = ABSENT_SHARES) -> pd.DataFrame:
    """The absent share of every pool by each way to estimate it.

    `held-out gaps` is `estimate_absent_share`; `fine-tuning gaps` the same with the fine-tuning data in place of
    held-out images. The other two use logits shifted by stand-ins. Columns: absent_share, estimate (the way), cell,
    seed, share, low, high (NaN where a way has no interval), n_pool.
    """
    rows = []
    for pool in pools(cells, absent_shares):
        e = pool.evidence
        gamma = estimate_gamma("stand_in", e)
        gaps = group_gaps(e.target_logits, e.split, "target"), group_gaps(pool.held_out, e.split, "held-out")
        stand_ins = stand_in_gaps(e.logits, e.pretrained_logits, e.labels, e.split)
        found = {}
        for name, known in ((HELD_OUT, pool.held_out), (FINE_TUNING, e.logits)):
            estimate = estimate_absent_share(e.target_logits, known, e.split, _generator(pool))
            found[name] = estimate.share, estimate.low, estimate.high
        em = posterior_em_share(shift_logits(e.target_logits, e.split, gamma), e.split)
        found[EM] = em, float("nan"), float("nan")
        found[BLACK_BOX] = black_box_share(*gaps, stand_ins, gamma), float("nan"), float("nan")
        for name, (share, low, high) in found.items():
            place = {"absent_share": pool.absent_share, "estimate": name, "cell": pool.cell, "seed": pool.spec.seed}
            rows.append(place | {"share": share, "low": low, "high": high, "n_pool": len(e.target_logits)})
    return pd.DataFrame(rows)


def errors(estimated: pd.DataFrame) -> pd.DataFrame:
    """How far estimates of the share are from the truth, over settings and seeds.

    estimated : from `estimates`. Columns: absent_share, estimate, bias (mean error), spread (standard deviation),
    covered (share of intervals that hold the true share; NaN without intervals), n (pools), n_pool (the smallest pool).
    """
    truth = estimated["absent_share"]
    inside = ((estimated["low"] <= truth) & (truth <= estimated["high"])).where(estimated["low"].notna())
    found = estimated.assign(error=estimated["share"] - truth, covered=inside.astype(float))
    return found.groupby(["absent_share", "estimate"], as_index=False, sort=False).agg(
        bias=("error", "mean"),
        spread=("error", "std"),
        covered=("covered", "mean"),
        n=("error", "size"),
        n_pool=("n_pool", "min"),
    )


def choices(cells: dict[tuple[float, int], RunSet], estimated: pd.DataFrame) -> pd.DataFrame:
    """gamma of every method in every pool, and the accuracy at the pool's share.

    estimated : from `estimates`; its pools are used. The oracle is the best gamma for that share. Columns:
    absent_share, told (`CLASSES`, `TRUE`, `ESTIMATED`, or `NOTHING` for methods that take no share), method, cell,
    seed, told_share, gamma, acc_sy, acc_uy, acc (at the share), regret (acc of the oracle minus acc), n_pool.
    """
    keys = ["cell", "seed", "absent_share"]
    estimate = estimated[estimated["estimate"] == HELD_OUT].set_index(keys)["share"]
    rows = []
    for pool in pools(cells, estimated["absent_share"].unique()):
        curve, split = pool.runs.curve(pool.spec, pool.spec.epochs), pool.evidence.split
        best = curve.best(pool.absent_share)
        told = {CLASSES: len(split.absent) / split.num_classes, TRUE: pool.absent_share}
        told[ESTIMATED] = estimate[pool.cell, pool.spec.seed, pool.absent_share]
        found: dict[tuple[str, str], tuple[float | None, CurvePoint]] = {
            (NOTHING, NONE): (None, curve.at(0.0)),
            (NOTHING, ORACLE): (None, best),
        }
        for name, share in told.items():
            for method in METHODS:
                gamma = estimate_gamma(method, replace(pool.evidence, absent_share=share))
                found[name, method] = share, curve.at(gamma)
        for (name, method), (share, point) in found.items():
            acc = accuracy_at_share(point, pool.absent_share)
            rows.append(
                {
                    "absent_share": pool.absent_share,
                    "told": name,
                    "method": method,
                    "cell": pool.cell,
                    "seed": pool.spec.seed,
                    "told_share": share,
                    "gamma": point.gamma,
                    "acc_sy": point.acc_sy,
                    "acc_uy": point.acc_uy,
                    "acc": acc,
                    "regret": accuracy_at_share(best, pool.absent_share) - acc,
                    "n_pool": len(pool.evidence.target_logits),
                }
            )
    return pd.DataFrame(rows)


def regrets(cells: dict[tuple[float, int], RunSet], chosen: pd.DataFrame) -> pd.DataFrame:
    """The regret of every method and told share: accuracy at the pool's share below the oracle's, with 95 % intervals.

    chosen : from `choices`. The regret is averaged over seeds; of the settings the median is taken, and the worst. The
    bootstrap is paired, over test clusters and seeds, with every gamma held fixed, also the oracle's. Columns:
    absent_share, told, method, regret, low, high, worst, n_pool (samples of the smallest pool), n_samples, n_seeds,
    n_cells.
    """
    keys = ["absent_share", "told", "method"]
    ways = chosen.groupby(keys, as_index=False, sort=False).agg(n_pool=("n_pool", "min"))
    gammas = chosen.set_index([*keys, "cell", "seed"])["gamma"]
    blocks, clusters = _right(cells, ways[keys], gammas)
    n_seeds, n_samples = len(blocks), blocks[0].shape[1]
    generator = generator_for("label shift", next(iter(cells.values())).benchmark)
    sample_counts, seed_counts = draw_cluster_resamples(clusters, n_seeds, generator)
    as_it_is = torch.ones(1, n_samples, dtype=torch.float64), torch.ones(1, n_seeds, dtype=torch.float64)

    share = torch.tensor(ways["absent_share"].to_numpy())[:, None]
    oracles = ways[ways["method"] == ORACLE].reset_index().set_index("absent_share")["index"]
    oracle = torch.tensor(oracles[ways["absent_share"]].to_numpy())

    def regret(*counts: torch.Tensor) -> torch.Tensor:  # (resamples, ways, cells)
        right = resampled_means(blocks, *counts).unflatten(1, (len(ways), len(cells), 2))
        accuracy = (1 - share) * right[..., 0] + share * right[..., 1]
        return accuracy[:, oracle] - accuracy

    found = regret(*as_it_is)[0]
    drawn = regret(sample_counts, seed_counts).quantile(0.5, dim=2)
    low, high = drawn.quantile(drawn.new_tensor([0.025, 0.975]), dim=0)
    columns = {"regret": found.quantile(0.5, dim=1), "low": low, "high": high, "worst": found.amax(1)}
    numbers = {name: values.numpy() for name, values in columns.items()}
    return ways.assign(**numbers, n_samples=n_samples, n_seeds=n_seeds, n_cells=len(cells))


def wrong_share(
    runs: RunSet,
    methods: Sequence[str] = ("stand_in", "transported_cv"),
    absent_shares: Sequence[float] = ABSENT_SHARES,
) -> pd.DataFrame:
    """The price of telling a method a share that is not that of the place of use.

    Columns: seed, method, told (the share that the method is told), absent_share (where it is used), gamma, regret (the
    accuracy there below that of the best gamma, *oracle*).
    """
    rows = []
    for spec in runs.specs:
        evidence, curve = calibration.evidence(runs, spec), runs.curve(spec, spec.epochs)
        for method in methods:
            for told in absent_shares:
                gamma = estimate_gamma(method, replace(evidence, absent_share=told))
                for share in absent_shares:
                    most = accuracy_at_share(curve.best(share), share)
                    regret = most - accuracy_at_share(curve.at(gamma), share)
                    rows.append((spec.seed, method, told, share, gamma, regret))
    return pd.DataFrame(rows, columns=["seed", "method", "told", "absent_share", "gamma", "regret"])


def _right(
    cells: dict[tuple[float, int], RunSet], ways: pd.DataFrame, gammas: pd.Series
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Whether each test sample is right, and the clusters (N,) of the test samples.

    The first is (ways * cells * 2, N) float64 for each seed: for each way and cell one row with NaN for absent samples,
    and one with NaN for seen samples.
    """
    blocks = []
    for specs in zip(*(runs.specs for runs in cells.values())):  # one seed, all cells
        tests = []
        for ((lr, epochs), runs), spec in zip(cells.items(), specs):
            test, split = runs.outputs(spec, spec.epochs, "test"), runs.split(spec)
            right_s = max_over(test.logits, split.seen)[1] == test.labels
            right_u = max_over(test.logits, split.absent)[1] == test.labels
            gaps, seen = group_gaps(test.logits, split, "test"), split.is_seen(test.labels)
            tests.append((cell_name(lr, epochs), gaps, right_s, right_u, seen))
        rows = []
        for way in ways.itertuples(index=False):
            for cell, gaps, right_s, right_u, seen in tests:
                right = torch.where(gaps < gammas[*way, cell, specs[0].seed], right_u, right_s).double()
                rows += [right.where(seen, torch.nan), right.where(~seen, torch.nan)]
        blocks.append(torch.stack(rows))
    return blocks, runs.clusters(test)


def _generator(pool: Pool) -> torch.Generator:
    return generator_for("absent share", pool.runs.benchmark, pool.spec.seed, pool.cell, pool.absent_share)
