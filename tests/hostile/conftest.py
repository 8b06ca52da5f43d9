import shutil

import pytest

from tests.hostile import workshop


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """The workshop as it was made, never to be changed."""
    root = tmp_path_factory.mktemp("sound") / "project"
    root.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTC_ROOT", str(root))
        patch.chdir(root)
        workshop.build(root)
    return root.parent


@pytest.fixture
def project(sound, tmp_path, monkeypatch):
    """A copy of the workshop, the current folder."""
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    root = tmp_path / "project"
    monkeypatch.setenv("FTC_ROOT", str(root))
    monkeypatch.chdir(root)
    return root
