"""`make setup` after a kill: pip takes for whole what it left half-installed, so the environment begins anew."""

import subprocess

import pytest

from tests.stress.commands import MAKEFILE, copy


def commands(folder, *targets):
    done = subprocess.run(["make", "--dry-run", *targets], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.fixture
def folder(tmp_path):
    copy(MAKEFILE, tmp_path)
    (tmp_path / ".venv").mkdir()
    return tmp_path


def test_without_the_mark_of_a_whole_environment_it_begins_anew(folder):
    assert "-m venv --clear .venv" in commands(folder, "setup")


def test_newer_pins_are_installed_into_the_environment_without_its_mark_meanwhile(folder):
    (folder / ".venv" / "ready").touch()
    assert "venv" not in commands(folder, "setup")
    (folder / "pyproject.toml").touch()
    lines = commands(folder, "setup").splitlines()
    assert not any("--clear" in line for line in lines)
    places = [
        next(n for n, line in enumerate(lines) if part in line)
        for part in ("rm -f .venv/ready", "requirements/setup.txt")
    ]
    assert places == sorted(places)


def test_the_site_s_packages_take_the_mark_away_while_they_are_installed(folder):
    (folder / ".venv" / "ready").touch()
    lines = commands(folder, "site").splitlines()
    marks = [n for n, line in enumerate(lines) if line.startswith("mv .venv/ready")]
    (installing,) = [n for n, line in enumerate(lines) if "requirements/site.txt" in line]
    assert len(marks) == 2 and marks[0] < installing < marks[1]
