import os

import pytest

from analysis_lib.core import files, paths
from analysis_lib.runs.plan import plan
from analysis_lib.runs.states import count_states, seconds_left


def begun(spec, at):
    files.write_json(paths.run_environment(spec.run_id), {})
    os.utime(paths.run_environment(spec.run_id), (at, at))


def ended(spec, at):
    files.write_text(paths.run_done(spec.run_id), "")
    os.utime(paths.run_done(spec.run_id), (at, at))


def test_states_are_counted_and_the_time_left_follows_the_median_epoch(project):
    specs = plan("digits", "smoke", [0, 1, 2, 3, 4, 5], epochs=5)
    assert count_states(specs) == {"done": 0, "partial": 0, "missing": 6}
    begun(specs[3], 1000)
    assert seconds_left(specs, 1) is None
    for spec, seconds in zip(specs[:3], (10, 15, 500), strict=True):
        begun(spec, 2000)
        ended(spec, 2000 + seconds)
    assert count_states(specs) == {"done": 3, "partial": 1, "missing": 2}
    assert seconds_left(specs, 1) == pytest.approx(3 * 5 * 15 / 5)
    assert seconds_left(specs, 2) == pytest.approx(3 * 5 * 15 / 5 / 2)
    assert seconds_left(specs, 64) == pytest.approx(15)  # no run goes faster than one run


def test_longer_runs_take_longer_and_none_is_left_at_the_end(project):
    short, long = plan("digits", "smoke", [0], epochs=2) + plan("digits", "smoke", [0], epochs=20)
    begun(short, 2000)
    ended(short, 2004)
    assert seconds_left([short, long], 1) == pytest.approx(40)
    assert seconds_left([short], 1) == 0
