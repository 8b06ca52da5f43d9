from analysis_lib.analysis.metrics import METRICS, Metric


def test_a_metric_is_a_mean_over_the_group_that_its_name_says():
    for name, metric in METRICS.items():
        last = name.split("_")[-1]
        if len(last) == 2 and set(last) <= set("ysu"):  # such as acc_uy: over U, among Y
            assert metric.group == last[0], name
        elif last in ("s", "u"):
            assert metric.group == last, name


def test_a_line_has_the_colour_of_its_role_or_else_of_its_group():
    assert Metric("a", "u").colour_of == "u"
    assert Metric("a", "u", role="s").colour_of == "s"
    assert METRICS["gap"].colour_of == "sum" and METRICS["angle_part"].colour_of == "u"
