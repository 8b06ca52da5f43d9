"""The pins: each package has one version and hashes, a changed file is refused, and licences are told."""

import hashlib
import io
import os
import re
import runpy
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
LISTS = REPOSITORY / "requirements"
LICENCES = runpy.run_path(str(LISTS / "licences.py"))


def hashed(name):
    """From each pin `name==version` of a list to its hashes."""
    found = {}
    for entry in re.split(r"\n(?=\S)", (LISTS / name).read_text().strip()):
        pin, *options = entry.replace("\\\n", " ").split()
        found[pin.lower().replace("_", "-")] = options
    return found


def test_every_pin_but_torch_has_its_hashes_in_one_list():
    pins = [line.lower().replace("_", "-") for line in (REPOSITORY / "constraints.txt").read_text().splitlines()]
    lists = [hashed(name) for name in ("setup.txt", "site.txt", "npm.txt")]
    listed = [pin for entries in lists for pin in entries]
    assert sorted(listed) == sorted(pin for pin in pins if not pin.startswith("torch=="))
    for entries in [*lists, hashed("tools.txt")]:
        for pin, hashes in entries.items():
            assert hashes and all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", each) for each in hashes), pin


def test_the_tools_are_pinned():
    assert {pin.split("==")[0] for pin in hashed("tools.txt")} >= {"pip-audit", "uv"}


@pytest.fixture(scope="module")
def flags():
    """What follows `python` where `make setup` installs a list with hashes, without the list."""
    show = ["make", "--silent", "--no-print-directory", "--eval", "show-flags: ; @echo '$(HASHED)'", "show-flags"]
    environment = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS")}
    shown = subprocess.run(show, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    return shown.stdout.split()


@pytest.fixture
def index(tmp_path):
    """A folder with the package `toy` as a wheel."""
    with zipfile.ZipFile(tmp_path / "toy-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("toy.py", "honest = True\n")
        wheel.writestr("toy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        wheel.writestr("toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("toy-1.0.dist-info/RECORD", "")
    return tmp_path


def install(flags, index, line):
    (index / "list.txt").write_text(line + "\n")
    local = ["--no-index", "--find-links", str(index), "--target", str(index / "installed")]
    command = [sys.executable, *flags, str(index / "list.txt"), *local]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def pin_of(file):
    return f"toy==1.0 --hash=sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"


def test_a_wheel_with_its_hash_is_installed_and_a_changed_one_is_not(flags, index):
    wheel = index / "toy-1.0-py3-none-any.whl"
    pin = pin_of(wheel)
    honest = wheel.read_bytes()
    wheel.write_bytes(honest.replace(b"honest = True", b"honest = 1==0"))
    done = install(flags, index, pin)
    assert done.returncode and "DO NOT MATCH THE HASHES" in done.stderr and not (index / "installed").exists()
    wheel.write_bytes(honest)
    assert install(flags, index, pin).returncode == 0 and (index / "installed" / "toy.py").exists()


def test_a_package_without_a_hash_is_refused(flags, index):
    done = install(flags, index, "toy==1.0")
    assert done.returncode and "Hashes are required" in done.stderr and not (index / "installed").exists()


def test_no_source_is_built_whatever_its_hash(flags, index):
    (index / "toy-1.0-py3-none-any.whl").unlink()
    source = index / "toy-1.0.tar.gz"
    with tarfile.open(source, "w:gz") as archive:
        code = b"from pathlib import Path\nPath('ran').touch()\n"
        entry = tarfile.TarInfo("toy-1.0/setup.py")
        entry.size = len(code)
        archive.addfile(entry, io.BytesIO(code))
    done = install(flags, index, pin_of(source))
    assert done.returncode and "No matching distribution" in done.stderr and not (index / "installed").exists()


@pytest.mark.parametrize(
    ("stated", "why"),
    [
        ("MIT", ""),
        ("BSD License", ""),
        ("Apache-2.0 AND CNRI-Python", ""),
        ("OFL-1.1", ""),
        ("GPL-3.0-or-later", "copyleft"),
        ("LGPLv2+", "copyleft"),
        ("GNU Affero General Public License v3", "copyleft"),
        ("MPL-2.0 AND MIT", "copyleft"),
        ("Mozilla Public License 2.0 (MPL 2.0)", "copyleft"),
        ("CC-BY-SA-4.0", "copyleft"),
        ("UNKNOWN", "states no licence"),
        ("", "states no licence"),
    ],
)
def test_which_licences_must_be_read(stated, why):
    assert LICENCES["reason"](stated) == why


def test_the_licence_is_the_expression_else_the_classifiers_else_the_first_line(tmp_path):
    fields = {
        "a": "License-Expression: MIT\nLicense: other\n",
        "b": "License: whole\nClassifier: License :: OSI Approved :: BSD License\n",
        "c": "License: Own Licence\n        with more lines\n",
        "d": "",
    }
    for name, about in fields.items():
        (tmp_path / f"{name}-1.0.dist-info").mkdir()
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{about}"
        (tmp_path / f"{name}-1.0.dist-info" / "METADATA").write_text(text)
    found = LICENCES["distributions"](path=[str(tmp_path)])
    stated = {each.metadata["Name"]: LICENCES["licence"](each) for each in found}
    assert stated == {"a": "MIT", "b": "BSD License", "c": "Own Licence", "d": ""}
