"""JupyterLab as `make lab` starts it, in a real browser: notebook 05 runs from the menu, and its slider moves."""

import base64
import io
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

import matplotlib.pyplot as plt
import numpy as np
import psutil
import pytest
from IPython.core.pylabtools import print_figure
from PIL import Image

from analysis_lib.plots.widgets import gamma_figure
from analysis_lib.studies import calibration, open_study
from tests.browser import press, requested, show
from tests.conftest import REPOSITORY, make_root

SEEDS = [0, 1, 2]  # as the notebook has them
OPTIONS = [
    "--no-browser",
    "--allow-root",
    "--ip=127.0.0.1",
    "--ServerApp.port_retries=0",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",  # which would ask PyPI
]
IDLE = "return document.querySelector('#jp-main-statusbar').textContent.includes('(ipykernel) | Idle')"
COUNTS = "return [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(prompt => prompt.textContent)"
IN_SIGHT = """
arguments[0].scrollIntoView({block: "center"});
const box = arguments[0].getBoundingClientRect();
return arguments[0].contains(document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2));
"""
FIGURE = "return arguments[0].closest('.jp-CodeCell').querySelector('img')?.src"
FAILED = "[data-mime-type='application/vnd.jupyter.error'], [data-mime-type='application/vnd.jupyter.stderr']"


def wait(condition, seconds=120):
    """Until the condition holds; asked again and again."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def root(tmp_path_factory, chromium):
    """A project folder of its own with the notebooks, the Makefile and the runs of notebook 05."""
    folder = make_root(tmp_path_factory.mktemp("lab"))
    shutil.copy(REPOSITORY / "Makefile", folder)
    shutil.copytree(REPOSITORY / "notebooks", folder / "notebooks")
    (folder / "analysis_lib").symlink_to(REPOSITORY / "analysis_lib")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FTC_ROOT", str(folder))
        open_study("calibration", "digits", "smoke", SEEDS, "cpu")
    return folder


@pytest.fixture
def lab(root, monkeypatch):
    """The address of a running JupyterLab, which ends with its kernels."""
    monkeypatch.setenv("FTC_ROOT", str(root))
    for place in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        monkeypatch.setenv(place, str(root / "jupyter"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = " ".join([*OPTIONS, f"--port={port}", "--IdentityProvider.token=a-token"])
    ready = [f"PY={sys.executable}", "--old-file=.venv/ready"]  # this very environment
    with (root / "lab.log").open("w") as log:
        command = ["make", "lab", f"LAB_OPTIONS={options}", *ready]
        server = subprocess.Popen(command, cwd=root, stdout=log, stderr=log, start_new_session=True)
    wait(lambda: listens(port) or server.poll() is not None)
    assert server.poll() is None, (root / "lab.log").read_text()
    family = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    yield f"http://127.0.0.1:{port}/"
    family += [child for child in psutil.Process(server.pid).children(recursive=True) if child not in family]
    assert len(family) > 2, "make, the server and a kernel"
    os.killpg(server.pid, signal.SIGTERM)
    server.wait(30)
    _, left = psutil.wait_procs(family, 30)
    assert left == []


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)))


def drawn(runs, gamma):
    """The pixels of the library's own figure at that gamma."""
    spec = runs.specs[0]
    test = runs.outputs(spec, spec.epochs, "test")
    figure = gamma_figure(test.logits, test.labels, runs.split(spec), gamma)
    png = print_figure(figure)
    plt.close(figure)
    return pixels(png)


def test_notebook_05_runs_from_the_menu_and_its_slider_redraws_the_figure(lab, browser):
    from selenium.webdriver import ActionChains

    def find(selector):
        return browser.find_elements("css selector", selector)

    def choose(selector, text):
        wait(lambda: any(item.text.startswith(text) for item in find(selector)))
        return next(item for item in find(selector) if item.text.startswith(text))

    show(browser, f"{lab}lab?token=a-token", 1280)
    notebook = choose(".jp-DirListing-item", "05_calibration")
    ActionChains(browser).double_click(notebook).perform()
    wait(lambda: browser.execute_script(IDLE))
    choose("[role=menuitem]", "Run").click()
    choose(".lm-Menu-item", "Run All Cells").click()
    wait(lambda: all(re.fullmatch(r"\[\d+\]:", count) for count in browser.execute_script(COUNTS)))
    wait(lambda: browser.execute_script(IDLE))
    assert len(browser.execute_script(COUNTS)) == 12
    assert [output.text for output in find(FAILED)] == []

    handle = find(".widget-slider [role=slider]")[0]

    def shown():
        """The figure above the slider, or None while it is redrawn."""
        source = browser.execute_script(FIGURE, handle)
        return source and pixels(base64.b64decode(source.partition(",")[2]))

    runs = open_study("calibration", "digits", "smoke", SEEDS, "cpu")
    gammas = [float(handle.get_attribute("aria-valuetext"))]
    assert gammas[0] == pytest.approx(calibration.choose_gamma(runs, runs.specs[0], "transported_cv"), abs=1e-6)
    assert np.array_equal(shown(), drawn(runs, gammas[0]))
    wait(lambda: browser.execute_script(IN_SIGHT, handle))
    handle.click()
    for move in (
        lambda: press(browser, "ARROW_RIGHT", "ARROW_RIGHT"),
        lambda: ActionChains(browser).drag_and_drop_by_offset(handle, 60, 0).perform(),
    ):
        move()
        gammas.append(float(handle.get_attribute("aria-valuetext")))
        assert not np.array_equal(drawn(runs, gammas[-1]), drawn(runs, gammas[-2]))
        wait(lambda: np.array_equal(shown(), drawn(runs, gammas[-1])))
    assert gammas[1] == pytest.approx(gammas[0] + 0.1) and gammas[2] > gammas[1] + 1

    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []
    assert [place for place in requested(browser) if not place.startswith((lab, "data:", "blob:", "about:"))] == []
