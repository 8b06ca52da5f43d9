import time

import pytest

from tests.conftest import make_root
from tests.stress.commands import NOTEBOOK, RUN, program


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A project folder in which runs and a notebook were made undisturbed, and the seconds of each command."""
    root, seconds = make_root(tmp_path_factory.mktemp("whole")), []
    for arguments in (RUN, NOTEBOOK):
        begin = time.monotonic()
        done = program(root, arguments)
        seconds.append(time.monotonic() - begin)
        assert done.returncode == 0, done.stderr
    return root, seconds
