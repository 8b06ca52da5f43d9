import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc

from analysis_lib import (
    ClassSplit,
    UserError,
    accuracies,
    average_logit_gap,
    pseudo_cross_validation,
    seen_absent_curve,
    shift_logits,
)
from analysis_lib.analysis import chunks
from analysis_lib.analysis.gamma.cross_fitting import cross_fitted_right
from analysis_lib.analysis.gamma.curve import (
    accuracy_at_share,
    ausuc_parts,
    best_gamma,
    shifted_accuracies,
    shifted_predictions,
)
from analysis_lib.analysis.gamma.estimators.pseudo_cv import Fold, best_overall
from analysis_lib.benchmarks.images import load_images
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.core import paths
from analysis_lib.runs import class_folds, execute, plan
from analysis_lib.runs.rows import split_parts


def problem(seed, num_classes, n, ties=True):
    """Random logits (integers when ties are wanted), labels and split; every group has a sample."""
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(n, num_classes, generator=random, dtype=torch.float64) * 2
    split = ClassSplit(
        num_classes,
        torch.randperm(num_classes, generator=random)[
            : int(torch.randint(1, num_classes, (), generator=random))
        ].tolist(),
    )
    labels = torch.randint(num_classes, (n,), generator=random)
    labels[0], labels[1] = split.seen[0], split.absent[0]
    return logits.round() if ties else logits, labels, split


def rescored(logits, labels, split, gamma):
    """The accuracies at a shift by predicting again. A tie between the groups goes to seen, as the curve documents."""
    shifted = shift_logits(logits.double(), split, gamma)
    order = torch.tensor([*split.seen, *split.absent])
    predicted = order[shifted[:, order].argmax(1)]
    right, seen = (predicted == labels).double(), split.is_seen(labels)
    return right[seen].mean().item(), right[~seen].mean().item(), right.mean().item()


def assert_equals_brute_force(logits, labels, split):
    curve = seen_absent_curve(logits, labels, split)
    assert len(curve.gamma) == len(curve.breakpoints) + 1
    for state, gamma in enumerate(curve.gamma.tolist()):
        point = curve.point(state)
        assert (point.acc_sy, point.acc_uy, point.acc_yy) == pytest.approx(
            rescored(logits, labels, split, gamma), abs=1e-12
        )
    for gamma in curve.breakpoints.tolist():
        point = curve.at(gamma)
        assert (point.acc_sy, point.acc_uy, point.acc_yy) == pytest.approx(
            rescored(logits, labels, split, gamma), abs=1e-12
        )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(2, 60))
def test_equals_brute_force_at_and_between_all_breakpoints_with_ties(seed, num_classes, n):
    assert_equals_brute_force(*problem(seed, num_classes, n))


def test_equals_brute_force_on_real_outputs(digits):
    spec = digits.specs[0]
    for epoch in range(spec.epochs + 1):
        test = digits.outputs(spec, epoch, "test")
        exact = test.logits.float()  # differences of float32 numbers are exact in float64, so re-scoring is too
        assert_equals_brute_force(exact, test.labels, digits.split(spec))


def test_float32_logits_give_the_same_curve_as_their_float64_copy(digits):
    test = digits.outputs(digits.specs[0], 1, "test")
    single = test.logits.float()
    split = digits.split(digits.specs[0])
    a, b = seen_absent_curve(single, test.labels, split), seen_absent_curve(single.double(), test.labels, split)
    assert all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("gamma", "acc_sy", "acc_uy", "acc_yy"))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 9), st.integers(2, 60))
def test_ends_monotony_and_area(seed, num_classes, n):
    logits, labels, split = problem(seed, num_classes, n)
    curve, acc = seen_absent_curve(logits, labels, split), accuracies(logits, labels, split)
    assert (curve.acc_sy[0].item(), curve.acc_uy[0].item()) == pytest.approx((acc["acc_ss"], 0))
    assert (curve.acc_sy[-1].item(), curve.acc_uy[-1].item()) == pytest.approx((0, acc["acc_uu"]))
    assert (curve.acc_sy.diff() <= 0).all() and (curve.acc_uy.diff() >= 0).all() and (curve.gamma.diff() > 0).all()
    assert curve.ausuc == pytest.approx(auc(curve.acc_sy.flip(0), curve.acc_uy.flip(0)))
    assert 0 <= curve.ausuc <= acc["acc_ss"] * acc["acc_uu"] + 1e-12


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(-64, 64))
def test_a_constant_on_the_absent_logits_only_moves_gamma(seed, constant):
    logits, labels, split = problem(seed, 6, 50)
    plain, moved = (
        seen_absent_curve(logits, labels, split),
        seen_absent_curve(shift_logits(logits, split, constant), labels, split),
    )
    assert torch.equal(plain.acc_sy, moved.acc_sy) and torch.equal(plain.acc_uy, moved.acc_uy)
    assert torch.equal(plain.gamma - constant, moved.gamma)
    assert plain.ausuc == moved.ausuc


def test_swapping_the_groups_reverses_the_curve():
    logits, labels, split = problem(3, 7, 80, ties=False)
    forward = seen_absent_curve(logits, labels, split)
    backward = seen_absent_curve(logits, labels, ClassSplit(7, split.absent))
    assert torch.allclose(forward.acc_sy.flip(0), backward.acc_uy) and torch.allclose(
        forward.acc_uy.flip(0), backward.acc_sy
    )
    assert torch.allclose(-forward.gamma.flip(0), backward.gamma)
    assert forward.ausuc == pytest.approx(backward.ausuc)


def test_no_shift_gives_the_plain_accuracies():
    logits, labels, split = problem(5, 7, 80, ties=False)
    acc, point = accuracies(logits, labels, split), seen_absent_curve(logits, labels, split).at(0)
    assert (point.acc_sy, point.acc_uy, point.acc_yy) == pytest.approx((acc["acc_sy"], acc["acc_uy"], acc["acc_yy"]))


def test_best_is_the_largest_best_overall_and_the_smallest_shift_that_reaches_it():
    for seed in range(20):
        logits, labels, split = problem(seed, 5, 40)
        curve = seen_absent_curve(logits, labels, split)
        candidates = [(rescored(logits, labels, split, gamma)[2], -abs(gamma), gamma) for gamma in curve.gamma.tolist()]
        overall, _, gamma = max(candidates)
        assert (curve.best().acc_yy, abs(curve.best().gamma)) == pytest.approx((overall, abs(gamma)))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_best_at_a_share_is_the_best_of_a_test_set_with_that_share(share):
    """Samples repeated until the share of absent ones is as wanted; then the accuracy is a plain one."""
    logits, labels, split = problem(4, 6, 300, ties=False)
    curve, seen = seen_absent_curve(logits, labels, split), split.is_seen(labels)
    n_s, n_u = int(seen.sum()), int((~seen).sum())
    times = torch.where(seen, round(10 * (1 - share)) * n_u, round(10 * share) * n_s)
    rows = torch.arange(300).repeat_interleave(times)
    repeated = seen_absent_curve(logits[rows], labels[rows], split)
    best = curve.best(share)
    assert accuracy_at_share(best, share) == pytest.approx(repeated.best().acc_yy)
    assert rescored(logits[rows], labels[rows], split, best.gamma)[2] == pytest.approx(repeated.best().acc_yy)
    assert accuracy_at_share(curve.at(0.3), share) == pytest.approx(repeated.at(0.3).acc_yy)


def test_gamma_star_finds_a_known_offset():
    """Perfect logits spoiled by a constant on the seen classes are repaired exactly."""
    random = torch.Generator().manual_seed(1)
    labels = torch.arange(200) % 10
    logits = torch.rand(200, 10, generator=random) + 3 * torch.eye(10)[labels]
    split = ClassSplit(10, range(5))
    spoiled = shift_logits(logits, split, -7.0)
    assert seen_absent_curve(spoiled, labels, split).at(0).acc_uy == 0
    assert seen_absent_curve(spoiled, labels, split).best().acc_yy == 1
    assert seen_absent_curve(spoiled, labels, split).at(7.0).acc_yy == 1
    plain = accuracies(logits, labels, split)
    assert {k: v for k, v in accuracies(spoiled, labels, split).items() if k in ("acc_ss", "acc_uu")} == {
        k: plain[k] for k in ("acc_ss", "acc_uu")
    }


def test_neighbouring_floats_still_get_a_state_each():
    gap = torch.tensor(
        [1.0, torch.nextafter(torch.tensor(1.0, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64))],
        dtype=torch.float64,
    )
    logits = torch.stack([gap, torch.zeros(2, dtype=torch.float64)], 1)
    curve = seen_absent_curve(logits, torch.tensor([0, 1]), ClassSplit(2, [0]))
    assert [curve.at(gamma).acc_uy for gamma in curve.gamma.tolist()] == curve.acc_uy.tolist() == [0, 0, 1]
    assert [curve.at(gamma).acc_sy for gamma in curve.gamma.tolist()] == curve.acc_sy.tolist() == [1, 0, 0]


def test_gaps_nearer_than_a_float32_are_told_apart():
    gap = 1 + torch.tensor([0.0, 2e-12], dtype=torch.float64)
    logits = torch.stack([gap, torch.zeros(2, dtype=torch.float64)], 1)
    curve = seen_absent_curve(logits, torch.tensor([0, 1]), ClassSplit(2, [0]))
    assert [curve.at(gamma).acc_sy for gamma in (1, 1 + 1e-12)] == [1, 0]


def test_classes_that_are_never_predicted():
    """-inf columns: such samples never cross over, and the curve equals the one without those columns."""
    logits, labels, split = problem(2, 6, 60)
    logits[:, split.absent[0]] = -torch.inf
    kept = labels != split.absent[0]
    assert_equals_brute_force(logits[kept], labels[kept], split)
    alone = torch.full((4, 2), -torch.inf)
    alone[:, 0] = 1.0
    curve = seen_absent_curve(alone, torch.tensor([0, 0, 1, 1]), ClassSplit(2, [0]))
    assert (curve.acc_sy.tolist(), curve.acc_uy.tolist(), curve.gamma.tolist()) == ([1.0], [0.0], [0.0])
    masked = torch.tensor([[-torch.inf, -torch.inf, 0.0]])  # no seen class can win, so the best of them is not right
    assert seen_absent_curve(masked, torch.tensor([0]), ClassSplit(3, [0, 1])).acc_sy.tolist() == [0]
    with pytest.raises(UserError, match="row 0 is infinite in both groups"):
        seen_absent_curve(torch.full((1, 2), -torch.inf), torch.tensor([0]), ClassSplit(2, [0]))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 7), st.integers(2, 40))
def test_the_parts_of_the_area_are_its_means_over_pairs(seed, num_classes, n):
    """Both groups' means are the area, with and without a class, whatever the ties; a part is a mean over pairs."""
    logits, labels, split = problem(seed, num_classes, n)
    parts, seen = ausuc_parts(logits, labels, split), split.is_seen(labels)
    area = seen_absent_curve(logits, labels, split).ausuc
    assert (parts[seen].mean().item(), parts[~seen].mean().item()) == pytest.approx((area, area))
    for c in labels.unique().tolist():
        kept, group = labels != c, seen if c in split.seen else ~seen
        if (kept & group).any():
            without = seen_absent_curve(logits[kept], labels[kept], split).ausuc
            assert parts[kept & group].mean().item() == pytest.approx(without)
    gap = [float(row[list(split.seen)].max() - row[list(split.absent)].max()) for row in logits]
    own = [split.seen if s else split.absent for s in seen]
    right = [int(y) == max(group, key=row.__getitem__) for row, y, group in zip(logits.tolist(), labels, own)]
    for i in range(n):
        others = [j for j in range(n) if seen[j] != seen[i]]
        above = [(gap[i] - gap[j]) * (1 if seen[i] else -1) for j in others]
        won = [right[i] * right[j] * (1.0 if d > 0 else 0.5 * (d == 0)) for j, d in zip(others, above)]
        assert parts[i].item() == pytest.approx(sum(won) / len(others))


def test_average_logit_gap_is_its_definition():
    logits, labels, split = problem(4, 7, 50, ties=False)
    rows = split.is_seen(labels)
    logits, labels = logits[rows], labels[rows]
    if len(split.seen) == 1:
        split = ClassSplit(7, [0, 1])
    wrong_seen, absent = [], []
    for row, y in zip(logits.tolist(), labels.tolist()):
        others = [row[c] for c in split.seen if c != y]
        wrong_seen.append(sum(others) / len(others))
        absent.append(sum(row[c] for c in split.absent) / len(split.absent))
    expected = sum(wrong_seen) / len(wrong_seen) - sum(absent) / len(absent)
    assert average_logit_gap(logits, labels, split) == pytest.approx(expected)


def test_average_logit_gap_recovers_an_offset_under_noise(random):
    n, num_classes, offset = 20_000, 10, 2.5
    split = ClassSplit(num_classes, [1, 4, 6])
    logits = torch.randn(n, num_classes, generator=random) + offset * split.seen_mask
    labels = torch.tensor(split.seen)[torch.randint(3, (n,), generator=random)]
    logits[range(n), labels] += 10  # the true logit does not enter
    standard_error = (1 / (2 * n) + 1 / (7 * n)) ** 0.5
    assert average_logit_gap(logits, labels, split) == pytest.approx(offset, abs=4 * standard_error)


def test_average_logit_gap_sees_no_absent_data():
    split = ClassSplit(4, [0, 1])
    with pytest.raises(UserError, match="2 rows have absent labels"):
        average_logit_gap(torch.zeros(3, 4), torch.tensor([0, 2, 3]), split)
    with pytest.raises(UserError, match="at least two seen classes"):
        average_logit_gap(torch.zeros(1, 4), torch.tensor([0]), ClassSplit(4, [0]))
    with pytest.raises(UserError, match="there are no rows"):
        average_logit_gap(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), split)


def test_test_labels_do_not_reach_the_average_logit_gap(digits, monkeypatch):
    spec = digits.specs[0]

    def gamma():
        data = digits.fine_tuning_outputs(spec, spec.epochs)
        return average_logit_gap(data.logits, data.labels, digits.split(spec))

    before = gamma()
    real = type(digits).outputs

    def only_train(self, spec, epoch, part):
        assert part == "train", "ALG asked for test outputs"
        outputs = real(self, spec, epoch, part)
        absent = ~self.split(spec).is_seen(outputs.labels)
        outputs.logits[absent] = 1e6  # spoil all absent-class data
        return outputs

    monkeypatch.setattr(type(digits), "outputs", only_train)
    assert gamma() == before


def test_shifting_by_zero_changes_nothing_and_shifts_add_up():
    logits, _, split = problem(6, 5, 20)
    assert torch.equal(shift_logits(logits, split, 0.0), logits)
    assert torch.equal(shift_logits(shift_logits(logits, split, 2), split, -5), shift_logits(logits, split, -3))


def make_fold(seed, offset):
    """A fold whose pseudo-absent logits were lowered by `offset`; before that it was perfect up to noise."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.arange(120) % 6
    good = torch.rand(120, 6, generator=random) + 2 * torch.eye(6)[labels]
    split = ClassSplit(6, torch.randperm(6, generator=random)[:3].tolist())
    held_out = torch.arange(120) >= 60
    return Fold(shift_logits(good, split, -offset), good, labels, split, held_out, torch.arange(120))


@pytest.mark.parametrize("seed", range(20))
def test_the_best_gamma_is_that_of_a_brute_force_search(seed):
    random = torch.Generator().manual_seed(seed)
    seen, absent = (torch.randint(-4, 5, (30,), generator=random).double() for _ in range(2))
    gains, wins = (torch.rand(30, generator=random, dtype=torch.float64) for _ in range(2))

    def total(gamma):
        return (gains * (seen >= gamma)).sum().item() + (wins * (absent < gamma)).sum().item()

    found = best_gamma(seen, gains, absent, wins)
    grid = [k / 4 for k in range(-24, 25)]
    assert total(found) == pytest.approx(max(map(total, grid)))
    between = torch.cat([seen, absent])
    earlier = [gamma for gamma in grid if ((between >= gamma) & (between < found)).any()]  # in an earlier state
    assert all(total(gamma) < total(found) - 1e-12 for gamma in earlier), "among equals the smallest"


@pytest.mark.parametrize("seed", range(8))
def test_the_cross_fitted_oracle_never_sees_the_sample_it_predicts(seed):
    """By brute force, part by part; so few samples that gamma depends on which part is left out."""
    logits, labels, split = problem(seed, 6, 36, ties=False)
    clusters = torch.arange(36) // 3
    right = cross_fitted_right(logits, labels, split, clusters, torch.Generator().manual_seed(seed), folds=4)
    part = (torch.randperm(12, generator=torch.Generator().manual_seed(seed)) % 4)[clusters]
    for i in range(36):
        others = part != part[i]
        gamma = seen_absent_curve(logits[others], labels[others], split).best().gamma
        assert bool(right[i]) == (int(shift_logits(logits[i : i + 1], split, gamma).argmax()) == int(labels[i]))
    best = seen_absent_curve(logits, labels, split).best().acc_yy
    assert right.double().mean() <= best, "choosing gamma on the scored samples is an upper bound"


def test_pseudo_cross_validation_is_its_definition():
    """Every state of every fold scored anew, on the held-out half alone."""
    folds = [make_fold(seed, 4.0) for seed in range(3)]
    for seed in range(4):  # noise before and after, so that the kept accuracy is not that of all
        noise = torch.randn(2, 120, 6, generator=torch.Generator().manual_seed(seed))
        fold, offset = make_fold(seed, 2.0), 0.5 * ~make_fold(seed, 2.0).split.seen_mask
        logits, before = fold.logits + noise[0], fold.pretrained_logits + noise[1] - offset
        folds.append(replace(fold, logits=logits, pretrained_logits=before))
    expected = []
    for fold in folds:
        logits, before, labels = fold.logits[60:], fold.pretrained_logits[60:], fold.labels[60:]
        threshold = rescored(before, labels, fold.split, 0.0)[1]
        states = seen_absent_curve(logits, labels, fold.split).gamma.tolist()
        scored = [(rescored(logits, labels, fold.split, gamma), gamma) for gamma in states]
        best = max(overall for (_, absent, overall), _ in scored if absent >= threshold)
        expected.append(
            next(gamma for (_, absent, overall), gamma in scored if absent >= threshold and overall == best)
        )
    assert [best_overall(fold) for fold in folds] == pytest.approx(expected)
    assert pseudo_cross_validation(folds, fallback=0.0) == pytest.approx(sum(expected) / 7)
    assert all(3.0 < gamma < 5.0 for gamma in expected[:3])


def test_pseudo_cross_validation_falls_back_when_no_state_keeps_the_accuracy():
    fold = make_fold(0, 4.0)
    wrong = torch.eye(6)[(fold.labels + 1) % 6]
    ruined = replace(fold, logits=torch.zeros_like(fold.logits) + wrong)
    assert best_overall(ruined) is None
    assert pseudo_cross_validation([ruined], fallback=1.25) == 1.25
    assert pseudo_cross_validation([ruined, fold], fallback=1.25) == best_overall(fold)


def test_what_a_fold_trained_on_does_not_judge_it():
    fold = make_fold(1, 2.0)
    ruined = replace(fold, logits=torch.where(fold.held_out[:, None], fold.logits, -fold.logits))
    assert fold.trained.sum() == 30 and not torch.equal(ruined.logits, fold.logits)
    assert best_overall(ruined) == best_overall(fold)


def test_rows_of_a_fold_are_those_of_all_its_parts():
    fold, rows = make_fold(2, 1.0), torch.tensor([70, 3, 5])
    some = fold.where(rows)
    assert some.split == fold.split
    for name in ("logits", "pretrained_logits", "labels", "held_out", "clusters"):
        assert torch.equal(getattr(some, name), getattr(fold, name)[rows])


def test_folds_hold_no_absent_class_and_know_what_they_trained_on(digits):
    spec = digits.specs[0]
    split, manifest = digits.split(spec), digits.manifest
    fold_specs = class_folds.half_specs(spec)
    folds = class_folds.folds_of(digits, spec, fold_specs)
    own_rows = manifest.rows("train")[split.is_seen(manifest.labels[manifest.rows("train")])]
    assert len(folds) == 3
    for fold, fold_spec in zip(folds, fold_specs):
        assert fold.logits.shape == (len(own_rows), len(split.seen)) and fold.split.num_classes == len(split.seen)
        own = digits.split(fold_spec)
        assert set(own.seen) < set(split.seen) and [split.seen[c] for c in fold.split.seen] == list(own.seen)
        parts = split_parts(manifest, fold_spec, own)
        trained = parts["train"][own.is_seen(manifest.labels[parts["train"]])]
        n_held_out = int(split.is_seen(manifest.labels[parts["test"]]).sum())
        assert int(fold.trained.sum()) == len(trained) and int(fold.held_out.sum()) == n_held_out
        assert len(fold.clusters.unique()) == len(own_rows)  # on `digits` every image is its own cluster


@pytest.mark.parametrize("seed", range(6))
def test_folds_differ_and_take_as_many_steps_as_the_run(project, seed):
    [spec] = plan.plan("digits", "smoke", [seed])
    manifest, folds = load_manifest("digits"), class_folds.half_specs(spec)
    assert len(folds) == len({fold.seen for fold in folds}) == 3

    def steps(each):
        split = manifest.class_split(each.seed, each.seen)
        train = split_parts(manifest, each, split)["train"]
        return math.ceil(int(split.is_seen(manifest.labels[train]).sum()) / each.batch_size)

    for fold in folds:
        assert abs(fold.epochs * steps(fold) - spec.epochs * steps(spec)) <= steps(fold) / 2


@pytest.mark.parametrize("seed", range(3))
def test_thirds_leave_out_every_seen_class_once(project, seed):
    [spec] = plan.plan("digits", "smoke", [seed])
    manifest = load_manifest("digits")
    seen = [manifest.class_names[c] for c in manifest.class_split(seed).seen]
    left_out = [name for fold in class_folds.third_specs(spec) for name in seen if name not in fold.seen]
    assert sorted(left_out) == sorted(seen)
    assert all(set(fold.seen) < set(seen) and fold.epochs == spec.epochs for fold in class_folds.third_specs(spec))


def test_a_run_with_few_seen_classes_has_fewer_folds(project):
    [spec] = plan.plan("digits", "smoke", [0])
    assert class_folds.third_specs(replace(spec, seen=("3", "7"))) == []
    assert {fold.seen for fold in class_folds.half_specs(replace(spec, seen=("3", "7")))} == {("3",), ("7",)}
    assert class_folds.half_specs(replace(spec, seen=("3",))) == []


def test_absent_data_cannot_reach_pseudo_cross_validation(digits, project, digits_root, monkeypatch):
    """Blacken every absent-class and test image, and run the folds again: gamma is the same to the last bit."""
    spec = digits.specs[0]
    source = plan.pretraining(digits.manifest, spec.dtype)
    paths.runs().mkdir()
    paths.run(source.run_id).symlink_to(digits_root / "runs" / source.run_id)
    images = load_images(digits.manifest)
    images[~digits.split(spec).is_seen(digits.manifest.labels)] = 0
    images[digits.manifest.rows("test")] = 0
    monkeypatch.setattr(execute, "load_images", lambda manifest: images)
    for fold in class_folds.half_specs(spec):
        execute.execute(fold, "cpu")
    spoiled = list(map(best_overall, class_folds.folds_of(digits, spec, class_folds.half_specs(spec))))
    monkeypatch.undo()
    monkeypatch.setenv("FTC_ROOT", str(digits_root))
    assert spoiled == list(map(best_overall, class_folds.folds_of(digits, spec, class_folds.half_specs(spec))))


@pytest.mark.parametrize("rows", [3, 100])
def test_shifted_in_parts_is_shifted_as_a_whole(monkeypatch, rows):
    logits, labels, split = problem(0, 7, 50)
    monkeypatch.setattr(chunks, "ROWS", rows)
    for gamma in (-1.5, 0.0, 2.5):
        z = shift_logits(logits, split, gamma)
        assert torch.equal(shifted_predictions(logits, split, gamma), z.argmax(1))
        assert shifted_accuracies(logits, labels, split, gamma) == accuracies(z, labels, split)
    with pytest.raises(UserError, match="NaN"):
        shifted_accuracies(torch.full_like(logits, torch.nan), labels, split, 0.0)
