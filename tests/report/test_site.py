"""`make site` on a tiny executed notebook: whole, offline, the same each time, and readable in a real browser."""

import base64
import importlib.util
import io
import re
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from PIL import Image

from tests.browser import check_access, check_keyboard, check_whole, press, show

REPOSITORY = Path(__file__).resolve().parents[2]
BUILD = REPOSITORY / "docs" / "site" / "build.py"
needs_sphinx = pytest.mark.skipif(
    not importlib.util.find_spec("sphinx"), reason="the extra `site` is not installed; `make site` installs it"
)


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


def test_every_package_of_the_extra_has_a_pin():
    wanted = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["optional-dependencies"]["site"]
    pins = {line.split("==")[0].lower() for line in (REPOSITORY / "constraints.txt").read_text().splitlines()}
    assert set(wanted) <= pins


@needs_sphinx
def test_without_executed_notebooks_one_sentence_says_what_to_do(tmp_path):
    done = build("digits", tmp_path, tmp_path / "site")
    assert done.returncode == 2 and not (tmp_path / "site").exists()
    assert done.stderr == (
        "error: there are no executed notebooks of 'digits'; make them with "
        "`make reproduce BENCHMARK=digits` and run the same command again\n"
    )


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


PAGES = {
    "index.html": "analysis_lib",
    "docs/methods.html": "How to fine-tune: methods that spare the absent classes - analysis_lib",
    "notebooks/tiny.html": "A tiny notebook - analysis_lib",
    "api/analysis_lib.html": "analysis_lib - analysis_lib",
    "search.html": "Search - analysis_lib",
}


@needs_sphinx
@pytest.mark.parametrize("width", [1300, 400])
@pytest.mark.parametrize("page", PAGES)
def test_a_browser_shows_it_whole_and_the_keyboard_reaches_everything(site, browser, page, width):
    show(browser, (site / page).as_uri(), width)
    assert browser.title == PAGES[page]
    check_whole(browser)
    check_keyboard(browser)


@needs_sphinx
@pytest.mark.parametrize("width", [1300, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_axe_finds_nothing(site, browser, axe, page, scheme, width):
    show(browser, (site / page).as_uri(), width, scheme)
    check_access(browser, axe)


@needs_sphinx
def test_formulas_are_drawn_and_figures_have_a_name(site, browser):
    show(browser, (site / "notebooks" / "tiny.html").as_uri(), 400)
    formula, figure = (browser.find_element("css selector", name) for name in ("article math", "article img"))
    assert formula.rect["width"] > 20
    assert figure.get_attribute("alt") == "Figure: A tiny notebook" and figure.rect["width"] > 700


@needs_sphinx
def test_the_side_bar_of_a_narrow_window_opens_from_the_keyboard(site, browser):
    show(browser, (site / "index.html").as_uri(), 400)
    link = browser.find_element("css selector", ".sidebar-tree a")
    assert not link.is_displayed()
    press(browser, "TAB", "SPACE")
    assert link.is_displayed() and link.rect["x"] >= 0
    check_keyboard(browser)
