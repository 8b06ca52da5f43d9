"""`make site` on a tiny executed notebook: whole, offline, the same each time, and readable in a real browser."""

import base64
import importlib.util
import io
import re
import shutil
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = REPOSITORY / "docs" / "site" / "build.py"
FLAGS = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
         "disable-component-update", "disable-sync"]
# What reaches beyond the window and lies in no box of its own that scrolls; the theme hides this from scrollWidth.
TOO_WIDE = """
const own = box => ["auto", "scroll"].includes(getComputedStyle(box).overflowX);
const scrolls = box => box.tagName != "ARTICLE" && (own(box) || scrolls(box.parentElement));
const reaches = item => item.getBoundingClientRect().right > innerWidth && !scrolls(item);
return [...document.querySelectorAll("article *")].filter(reaches).map(item => item.tagName + ": " + item.textContent);
"""
MISSING = "the extra `site` is not installed; `make site` installs it"
needs_sphinx = pytest.mark.skipif(not importlib.util.find_spec("sphinx"), reason=MISSING)


def write_notebook(folder):
    """An executed notebook with what notebooks here show: figure, wide text, wide table, formula, live widget."""
    picture = io.BytesIO()
    Image.new("RGB", (900, 300), "teal").save(picture, "png")
    table = "<table class='dataframe'><tr>" + "".join(f"<td>column_{i}</td>" for i in range(40)) + "</tr></table>"
    shown = partial(v4.new_output, "display_data")
    outputs = [
        v4.new_output("stream", text="0.123456 " * 60),
        shown({"image/png": base64.b64encode(picture.getvalue()).decode(), "text/plain": "<Figure>"}),
        shown({"text/html": table, "text/plain": "a table"}),
        shown({"application/vnd.jupyter.widget-view+json": {"model_id": "0"}, "text/plain": "FloatSlider()"}),
    ]
    text = v4.new_markdown_cell("# A tiny notebook\nThe area is $\\pi r^2$.")
    code = v4.new_code_cell("1 / 0  # must not run again", outputs=outputs)
    metadata = {
        "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {}}},
        "language_info": {"name": "python", "pygments_lexer": "ipython3"},
    }
    nbformat.write(v4.new_notebook(cells=[text, code], metadata=metadata), folder / "tiny.ipynb")


def build(*arguments):
    return subprocess.run([sys.executable, BUILD, *arguments], check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("executed")
    write_notebook(folder)
    (folder / "other.failed.ipynb").write_text("left by a notebook that failed")
    return folder


@pytest.fixture(scope="module")
def site(executed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages") / "site"
    done = build("digits", executed, folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason=MISSING)
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (program and driver):
        pytest.skip("no browser to look at the site with: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in [*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()


def test_every_package_of_the_extra_has_a_pin():
    wanted = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]["site"]
    pins = {line.split("==")[0].lower() for line in (REPOSITORY / "constraints.txt").read_text().splitlines()}
    assert set(wanted) <= pins


@needs_sphinx
def test_without_executed_notebooks_one_sentence_says_what_to_do(tmp_path):
    done = build("digits", tmp_path, tmp_path / "site")
    assert done.returncode == 2 and not (tmp_path / "site").exists()
    assert done.stderr == ("error: there are no executed notebooks of 'digits'; make them with "
                           "`make reproduce BENCHMARK=digits` and run the same command again\n")


@needs_sphinx
def test_readme_docs_notebooks_and_every_room_have_a_page(site):
    assert re.search(r"<title>.*analysis_lib", (site / "index.html").read_text())
    docs = (REPOSITORY / "docs").glob("*.md")
    assert sorted(page.stem for page in docs) == sorted(page.stem for page in site.glob("docs/*.html"))
    folders = [found.parent.relative_to(REPOSITORY) for found in (REPOSITORY / "analysis_lib").rglob("__init__.py")]
    rooms = [".".join(folder.parts) for folder in folders]
    assert sorted(rooms) == sorted(page.stem for page in site.glob("api/*.html"))
    assert any("Estimate gamma on the fine-tuning data" in page.read_text() for page in site.glob("api/*.html"))
    public = (site / "api" / "analysis_lib.html").read_text()
    assert re.search(r'href="[^"]+\.html#analysis_lib[\w.]+\.seen_absent_curve"', public)
    assert [page.name for page in site.glob("notebooks/*.html")] == ["tiny.html"]
    assert "FloatSlider" not in (site / "notebooks" / "tiny.html").read_text()


@needs_sphinx
def test_nothing_is_loaded_from_outside(site, tmp_path):
    spec = importlib.util.spec_from_file_location("build_site", BUILD)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.fetched_from_outside(site) == []
    for text, found in [
        ("<a href='https://a.b/c'>", 0),
        ("<img src='pictures/a.png'>", 0),
        ('<script async src="https://a.b/c.js">', 1),
        ("<img alt='' src=//a.b/c.png>", 1),
        ('<link rel="stylesheet" href="http://a.b/c.css">', 1),
        ("<style>@import 'https://a.b/c.css';</style>", 1),
        ("x {src: url(https://a.b/c.woff)}", 1),
    ]:
        (tmp_path / "page.html").write_text(text)
        assert len(module.fetched_from_outside(tmp_path)) == found, text


def files_of(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@needs_sphinx
def test_a_second_build_has_the_same_bytes(site, executed, tmp_path):
    assert build("digits", executed, tmp_path / "site").returncode == 0
    first, second = files_of(site), files_of(tmp_path / "site")
    assert first.keys() == second.keys()
    assert [str(name) for name in first if first[name] != second[name]] == []


@needs_sphinx
@pytest.mark.parametrize("width", [1300, 400])
@pytest.mark.parametrize("page, title", [
    ("index.html", "analysis_lib"),
    ("notebooks/tiny.html", "A tiny notebook - analysis_lib"),
    ("api/analysis_lib.html", "analysis_lib - analysis_lib"),
])
def test_a_browser_shows_it_whole(site, browser, page, title, width):
    window = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    browser.get((site / page).as_uri())
    run = browser.execute_script
    assert browser.title == title
    assert browser.get_log("browser") == []
    loaded = run("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert [address for address in loaded if not address.startswith("file:")] == []
    images = run("return [...document.querySelectorAll('article img')].map(image => image.naturalWidth)")
    assert all(images) and (images or page.startswith("api"))
    assert run("return document.documentElement.scrollWidth") <= width and run(TOO_WIDE) == []
    if "tiny" in page:
        assert run("return document.querySelector('math').getBoundingClientRect().width") > 20
    run("document.querySelector('article').insertAdjacentHTML('beforeend', '<div style=\"width: 1500px\">long</div>')")
    assert run(TOO_WIDE) == ["DIV: long"]
