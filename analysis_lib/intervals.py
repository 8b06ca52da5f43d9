"""How sure a study's numbers are: paired intervals over test samples and seeds, and over seeds alone.

Whatever is a mean over test samples gets a paired bootstrap in which every gamma is held fixed and the samples of one
group (variants of one drawing) are drawn together; how much an estimator's own choice varies with the fine-tuning samples
is asked apart, in `gamma_intervals`.
"""

from dataclasses import replace

import pandas as pd
import torch

from . import runtime, shifts, tables
from .analysis.accuracy import best_in
from .analysis.calibration import pseudo_cross_validation, shift_logits
from .analysis.decomposition import softmax_decomposition
from .analysis.estimators import ESTIMATORS, Evidence, estimate_gamma
from .analysis.ncm import class_means, ncm_scores
from .analysis.uncertainty import bootstrap_differences, draw_unit_resamples
from .study import FINE_TUNED, PRE_TRAINED, Study

KEYS = ("acc_sy", "acc_uy", "acc_yy")
PROBES = ("acc_uu", "ncm_acc_sy", "ncm_acc_uy", "p_absent_u")  # means over test samples that no shift changes, but the last
BEFORE = f"{PRE_TRAINED}, {shifts.NONE}"


def sample_values(study: Study, calibrated: pd.DataFrame) -> tuple[list[str], list[torch.Tensor]]:
    """What each test sample contributes to each metric: M names and, for each seed, (M, N) float64, NaN outside the group.

    Names are `<checkpoint>, <method>: <acc_sy, acc_uy or acc_yy>` for the rows of `calibrated` (from
    `shifts.calibrations`) and `<checkpoint>: <probe>` for `PROBES`. NCM means use all classes' training images (*oracle*).
    """
    values = []
    for spec in study.specs:
        split, rows = study.split(spec), {}
        tests = {checkpoint: study.outputs(spec, epoch, "test") for checkpoint, epoch in study.checkpoints(spec).items()}
        for line in calibrated[calibrated["seed"] == spec.seed].itertuples():
            test = tests[line.checkpoint]
            right, seen = shift_logits(test.logits, split, line.gamma).argmax(1) == test.labels, split.is_seen(test.labels)
            for key, group in zip(KEYS, (seen, ~seen, torch.ones_like(seen))):
                rows[f"{line.checkpoint}, {line.method}: {key}"] = right.double().where(group, torch.nan)
        for checkpoint, epoch in study.checkpoints(spec).items():
            test, train = tests[checkpoint], study.outputs(spec, epoch, "train")
            seen = split.is_seen(test.labels)
            probe = ncm_scores(test.features, class_means(train.features, train.labels, split.num_classes)).argmax(1) == test.labels
            within = best_in(test.logits, split.absent)[1] == test.labels
            absent_mass = softmax_decomposition(test.logits, test.labels, split).p_absent
            for name, value, group in zip(PROBES, (within, probe, probe, absent_mass), (~seen, seen, ~seen, ~seen)):
                rows[f"{checkpoint}: {name}"] = value.double().where(group, torch.nan)
        values.append(torch.stack(list(rows.values())))
    return list(rows), values


def calibration_intervals(study: Study, calibrated: pd.DataFrame) -> pd.DataFrame:
    """Every state of `shifts.calibrations` minus the pre-trained model without a shift.

    Columns: state, metric, mean, low, high, n_samples, n_seeds. A state reads `<checkpoint>, <method>`.
    """
    names, values = sample_values(study, calibrated)
    states = dict.fromkeys(name.rpartition(": ")[0] for name in names if name.endswith(KEYS) and ", " in name)
    pairs = [(f"{state}: {key}", f"{BEFORE}: {key}") for state in states if state != BEFORE for key in KEYS]
    table = bootstrap_differences(values, names, pairs, _generator(study), units=_units(study))
    parts = table["a"].str.rsplit(": ", n=1)
    return table.assign(state=parts.str[0], metric=parts.str[1])[["state", "metric", "mean", "low", "high", "n_samples", "n_seeds"]]


def evidence(study: Study, calibrated: pd.DataFrame, over_seeds: pd.DataFrame) -> pd.DataFrame:
    """All differences that claims may ask for, each with the interval that fits it.

    over_seeds : columns seed, checkpoint, metric, value, of what is one number per seed. Columns: quantity (`<a> - <b>:
    <metric>`), mean, low, high, n_samples, n_seeds, interval: `bootstrap` over test samples and seeds, or `Student`
    over seeds.
    """
    names, values = sample_values(study, calibrated)
    pairs = [(f"{FINE_TUNED}: {name}", f"{PRE_TRAINED}: {name}") for name in PROBES]
    pairs += [(f"{FINE_TUNED}, {shifts.NONE}: {key}", f"{BEFORE}: {key}") for key in KEYS]
    plain = [f"{FINE_TUNED} - {PRE_TRAINED}: {name}" for name in (*PROBES, *KEYS)]
    for method in shifts.METHODS[1:]:
        for other in (f"{FINE_TUNED}, {shifts.NONE}", BEFORE, f"{PRE_TRAINED}, {shifts.ORACLE}"):
            pairs += [(f"{FINE_TUNED}, {method}: {key}", f"{other}: {key}") for key in KEYS]
            plain += [f"{FINE_TUNED}, {method} - {other}: {key}" for key in KEYS]
    drawn = bootstrap_differences(values, names, pairs, _generator(study), units=_units(study)).drop(columns=["a", "b"])
    changes = tables.change(over_seeds, PRE_TRAINED, FINE_TUNED, "checkpoint", ["metric"])
    student = changes.assign(quantity=f"{FINE_TUNED} - {PRE_TRAINED}: " + changes["metric"], n_seeds=changes["n"], interval="Student")
    table = pd.concat([drawn.assign(quantity=plain, interval="bootstrap"), student], ignore_index=True)
    return table[["quantity", "mean", "low", "high", "n_samples", "n_seeds", "interval"]].astype({"n_samples": "Int64"})


def gamma_intervals(study: Study, resamples: int = 200) -> pd.DataFrame:
    """How far each estimator's gamma varies with the fine-tuning samples drawn: columns seed, method, gamma, low, high, n.

    A bootstrap over the groups of rows that the estimator sees, which for cross-validation are single held-out images of
    the folds; the networks are held fixed. Transductive ones are left out. n : rows. Source: ours.
    """
    found = []
    for spec in study.specs:
        split, after = study.split(spec), study.fine_tuning_outputs(spec, spec.epochs)
        whole = Evidence(after.logits, after.labels, split, study.fine_tuning_outputs(spec, 0).logits)
        folds, generator = shifts.folds_of(study, spec), runtime.generator_for("gamma", spec.run_id)
        alg, drawn = estimate_gamma("alg", whole), []
        for counts in draw_unit_resamples(study.units(after), 1, generator, resamples)[0]:
            rows = torch.arange(len(counts)).repeat_interleave(counts.long())
            some = replace(whole, logits=whole.logits[rows], labels=whole.labels[rows], pretrained_logits=whole.pretrained_logits[rows])
            values = {method: estimate_gamma(method, some) for method in ESTIMATORS}
            picks = [torch.randint(len(fold.labels), fold.labels.shape, generator=generator) for fold in folds]
            redrawn = [replace(fold, logits=fold.logits[pick], pretrained_logits=fold.pretrained_logits[pick], labels=fold.labels[pick])
                       for fold, pick in zip(folds, picks)]
            values |= {method: pseudo_cross_validation(redrawn, alg, choose) for method, choose in shifts.CROSS_VALIDATED.items()}
            drawn.append(values | {shifts.BRACKETED: (values["pcv_balanced"] + values["stand_in_sure"]) / 2})
        ends = pd.DataFrame(drawn).quantile([0.025, 0.975])
        point = shifts.gammas(study, spec)
        n_folds = sum(len(fold.labels) for fold in folds)
        found += [(spec.seed, method, point[method], *ends[method], len(after.labels) if method in ESTIMATORS else n_folds) for method in ends]
    return pd.DataFrame(found, columns=["seed", "method", "gamma", "low", "high", "n"])


def _units(study: Study) -> torch.Tensor:
    return study.units(study.outputs(study.specs[0], 0, "test"))


def _generator(study: Study) -> torch.Generator:
    return runtime.generator_for("bootstrap", study.benchmark)
