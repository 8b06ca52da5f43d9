"""Metrics by name: the samples that each is a mean over, its unit, and how figures show it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """What is known about a metric, and how figures show it.

    title : for figures.
    group : of the samples or classes that it is a mean over: `s` seen, `u` absent, `y` all.
    dash, marker : of its line.
    unit : `%` for a fraction, else in words.
    oracle : whether it uses labelled data of absent classes to choose or train something.
    role : whose colour the line has, if not the group's.
    """

    title: str
    group: str
    dash: str = "-"
    marker: str = "o"
    unit: str = "%"
    oracle: bool = False
    role: str = ""

    @property
    def colour_of(self) -> str:
        """The colour of its line: that of `s`, `u` or `y`, or of `sum` for the sum of several parts."""
        return self.role or self.group


METRICS: dict[str, Metric] = {
    "acc_yy": Metric("all: Acc$_{Y/Y}$", "y", "-", "D"),
    "acc_sy": Metric("seen: Acc$_{S/Y}$", "s", "-", "o"),
    "acc_uy": Metric("absent: Acc$_{U/Y}$", "u", "-", "s"),
    "acc_ss": Metric("seen among seen: Acc$_{S/S}$", "s", "--", "^"),
    "acc_uu": Metric("absent among absent: Acc$_{U/U}$", "u", "--", "v"),
    "ncm_acc_yy": Metric("all, NCM: Acc$_{Y/Y}$", "y", ":", "d", oracle=True),
    "ncm_acc_sy": Metric("seen, NCM: Acc$_{S/Y}$", "s", ":", "P", oracle=True),
    "ncm_acc_uy": Metric("absent, NCM: Acc$_{U/Y}$", "u", ":", "X", oracle=True),
    "ncm_acc_ss": Metric("seen among seen, NCM", "s", "-.", "P", oracle=True),
    "ncm_acc_uu": Metric("absent among absent, NCM", "u", "-.", "X", oracle=True),
    "top5_yy": Metric("all, top 5: Acc$_{Y/Y}$", "y", "--", "D"),
    "top5_sy": Metric("seen, top 5: Acc$_{S/Y}$", "s", "--", "o"),
    "top5_uy": Metric("absent, top 5: Acc$_{U/Y}$", "u", "--", "s"),
    "top5_ss": Metric("seen among seen, top 5", "s", "-.", "^"),
    "top5_uu": Metric("absent among absent, top 5", "u", "-.", "v"),
    "probe_acc_yy": Metric("all, linear probe: Acc$_{Y/Y}$", "y", ":", "*", oracle=True),
    "probe_acc_sy": Metric("seen, linear probe: Acc$_{S/Y}$", "s", ":", "*", oracle=True),
    "probe_acc_uy": Metric("absent, linear probe: Acc$_{U/Y}$", "u", ":", "p", oracle=True),
    "probe_acc_ss": Metric("seen among seen, linear probe", "s", "-.", "*", oracle=True),
    "probe_acc_uu": Metric("absent among absent, linear probe", "u", "-.", "p", oracle=True),
    "ausuc": Metric("area under the seen-absent curve", "y", "-", "D", unit="area"),
    "p_absent_s": Metric("seen samples", "s", "-", "o"),
    "p_absent_u": Metric("absent samples", "u", "-", "s"),
    "p_within_s": Metric("seen samples: p(y|x, S)", "s", "--", "^"),
    "p_within_u": Metric("absent samples: p(y|x, U)", "u", "--", "v"),
    "confusion_s": Metric("seen samples predicted absent", "s", ":", "o"),
    "confusion_u": Metric("absent samples predicted seen", "u", ":", "s"),
    "wrong_within_s": Metric("seen samples wrong among S", "s", "-.", "^"),
    "wrong_within_u": Metric("absent samples wrong among U", "u", "-.", "v"),
    "wrong_group_s": Metric("seen samples lost only to U", "s", "--", "o"),
    "wrong_group_u": Metric("absent samples lost only to S", "u", "--", "s"),
    "weight_norm_s": Metric("seen classes", "s", "-", "o", unit="norm"),
    "weight_norm_u": Metric("absent classes", "u", "-", "s", unit="norm"),
    "bias_s": Metric("seen classes", "s", "-", "o", unit="logit"),
    "bias_u": Metric("absent classes", "u", "-", "s", unit="logit"),
    "feature_norm_s": Metric("samples of seen classes", "s", "-", "o", unit="norm"),
    "feature_norm_u": Metric("samples of absent classes", "u", "-", "s", unit="norm"),
    "gap": Metric("the gap", "u", "-", "D", unit="logit", role="sum"),
    "angle_part": Metric("from angles", "u", "--", "s", unit="logit"),
    "norm_part": Metric("from norms", "u", "--", "o", unit="logit", role="s"),
    "bias_part": Metric("from biases", "u", ":", "^", unit="logit", role="y"),
    "logit_true": Metric("true absent class", "u", "-", "s", unit="logit"),
    "logit_other_absent": Metric("best other absent class", "u", "--", "v", unit="logit"),
    "logit_seen": Metric("best seen class", "u", "-", "o", unit="logit", role="s"),
    "motion_s_test": Metric("seen classes, test", "s", "-", "o", unit="distance"),
    "motion_u_test": Metric("absent classes, test", "u", "-", "s", unit="distance", oracle=True),
    "motion_s_train": Metric("seen classes, training images", "s", ":", "^", unit="distance"),
    "motion_u_train": Metric("absent classes, training images", "u", ":", "v", unit="distance", oracle=True),
    "test_s_class": Metric("seen: to own class", "s", "-", "o", unit="distance"),
    "test_u_class": Metric("absent: to own class", "u", "-", "s", unit="distance", oracle=True),
    "test_s_other_group": Metric("seen: to the other group", "s", "--", "^", unit="distance"),
    "test_u_other_group": Metric("absent: to the other group", "u", "--", "v", unit="distance", oracle=True),
}
