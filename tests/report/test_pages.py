import hashlib
import re
import tomllib
from pathlib import Path

import pandas as pd
import pytest

from analysis_lib import UserError
from analysis_lib.report.blocks import TABLES, WITHOUT_MEANS
from analysis_lib.report.pages import MARK, fill, filled, marks, pages, render
from analysis_lib.report.reference import PICTURES, Missing, Reference

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = pages(REPOSITORY)
MARKS = sorted({(match["kind"], match["call"]) for page in PAGES for match in marks(page.read_text())})
NAMED = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


# the pages of this repository
@NAMED
def test_a_page_says_what_its_reference_says(page):
    assert filled(page.read_text(), REPOSITORY) == page.read_text(), "run `make docs`"


@pytest.mark.parametrize(("kind", "call"), MARKS, ids=lambda text: text)
def test_every_mark_has_a_reference_and_every_table_of_means_its_n(kind, call):
    try:
        text = render(REPOSITORY, kind, call)
    except Missing:
        # these take runs of their own, so they may come later
        assert call.startswith(("processors", "temporal")), "run `make reference`"
        return
    assert text
    if kind == "table" and call.split()[0] not in WITHOUT_MEANS:
        assert re.search(r"\bn( = \d| \()", text.splitlines()[0]), "the head of a table of means says n"


@NAMED
def test_no_measured_number_is_typed_by_hand(page):
    prose = MARK.sub("", page.read_text())
    assert set(re.findall(r"±\s*\d[\d.]*|\d[\d.]*\s*%|\[[-+]?\d[\d.]*, [-+]?\d[\d.]*\]", prose)) <= {"95 %"}


@NAMED
def test_no_value_begins_a_line(page):
    assert not re.search(r"^\s*<!-- value:", page.read_text(), re.MULTILINE), "Markdown would end the paragraph there"


@pytest.mark.parametrize("benchmark", PICTURES)
def test_the_pictures_are_those_of_the_reference(benchmark):
    for name, digest in Reference(REPOSITORY, benchmark).made_on()["pictures"].items():
        assert hashlib.sha256((REPOSITORY / "docs" / f"{name}.png").read_bytes()).hexdigest() == digest, name


def slug(heading):
    """GitHub's anchor of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", [*PAGES, REPOSITORY / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        name, _, anchor = target.partition("#")
        path = (page.parent / name) if name else page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            assert anchor in map(slug, headings), target


@NAMED
def test_every_file_that_a_page_names_exists(page):
    for name in re.findall(
        r"`((?:analysis_lib|tests|bench|notebooks|data_manifests|docs)/[\w./-]*)`", page.read_text()
    ):
        assert (REPOSITORY / name).exists(), name


def test_the_readme_is_short_and_leads_to_every_page():
    text = (REPOSITORY / "README.md").read_text()
    assert text.count("\n") <= 120
    assert all(f"(docs/{page.name})" in text for page in PAGES if page.parent.name == "docs")


def test_every_set_has_a_licence_on_the_page_of_benchmarks():
    text = (REPOSITORY / "docs" / "benchmarks.md").read_text()
    for benchmark in ("digits", "emoji"):
        for licence in Reference(REPOSITORY, benchmark).manifest()["licences"]:
            assert licence["licence"] and licence["author"]
            assert (
                f"`{licence['package']}` {licence['version']} | {licence['name']} | {licence['author']} | "
                f"{licence['licence']}" in text
            )


def test_one_version_everywhere():
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (REPOSITORY / "CITATION.cff").read_text()
    assert f"\n## {version}" in (REPOSITORY / "CHANGELOG.md").read_text()


# how a page is filled
@pytest.fixture
def project(tmp_path):
    """A folder with one page and the claims of one benchmark."""
    folder = tmp_path / "docs" / "reference" / "toy"
    folder.mkdir(parents=True)
    rows = [
        ("A|B rises", "one", "holds", "after - before: acc_uy", 0.1234, 0.05, 0.2, 0.0123, 50, 3),
        ("C falls", "two", "undecided", "gap", 1.0, float("nan"), float("nan"), float("nan"), None, 3),
        ("D grows", "two", "holds", "gap", 1.0, 0.9, 1.1, 1e-5, None, 3),
    ]
    columns = ["claim", "family", "verdict", "quantity", "mean", "low", "high", "p", "n_samples", "n_seeds"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "claims.csv", index=False)
    (tmp_path / "README.md").write_text(
        "Before.\n\n<!-- table: claims benchmark=toy -->\nold\n<!-- end -->\n\nAfter.\n"
    )
    return tmp_path


def test_a_table_is_written_between_its_marks_and_once(project):
    assert [page.name for page in fill(project)] == ["README.md"]
    text = (project / "README.md").read_text()
    assert text.startswith(
        "Before.\n\n<!-- table: claims benchmark=toy -->\n\n| claim | family | verdict |"
    ) and text.endswith("|\n\n<!-- end -->\n\nAfter.\n")
    assert r"| A\|B rises | one | **holds** | +12.3 [+5.0, +20.0] | points | 0.012 | 50 x 3 |" in text
    assert "| C falls | two | undecided | +1.00 |  |  | 3 |" in text
    assert "| D grows | two | **holds** | +1.00 [+0.90, +1.10] |  | < 0.001 | 3 |" in text
    assert fill(project) == []


def test_a_page_that_was_changed_by_hand_differs(project):
    fill(project)
    changed = (project / "README.md").read_text().replace("+12.3", "+12.4")
    assert filled(changed, project) != changed


def test_code_is_left_alone(project):
    text = (
        "```\n<!-- table: claims benchmark=toy -->\nx\n<!-- end -->\n```\nand `<!-- value: nothing -->x<!-- end -->`\n"
    )
    assert filled(text, project) == text


def test_without_a_reference_a_page_says_how_to_make_it(project):
    text = filled("In all <!-- value: verdicts verdict=holds benchmark=other --><!-- end -->.", project)
    assert (
        "*There is no docs/reference/other/claims.csv yet: it is made by `make reference "
        "BENCHMARK=other`.*<!-- end -->." in text
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("<!-- table: claim benchmark=toy --><!-- end -->", r"unknown table 'claim' \(did you mean 'claims'\?\)"),
        ("<!-- tabel: claims benchmark=toy --><!-- end -->", r"unknown mark 'tabel' \(did you mean 'table'\?\)"),
        (
            "<!-- value: verdicts verdit=holds benchmark=toy --><!-- end -->",
            r"unknown option of verdicts 'verdit' \(did you mean 'verdict'\?\)",
        ),
        (
            "<!-- table: claims benchmark=toy -->\n<!-- table: claims benchmark=toy -->\n<!-- end -->",
            "has no <!-- end --> before the next mark",
        ),
        ("<!-- table: claims benchmark=toy -->", "stands alone"),
        ("text <!-- end -->", "stands alone"),
    ],
)
def test_a_wrong_mark_is_one_sentence_that_names_the_page(project, text, sentence):
    (project / "README.md").write_text(text)
    with pytest.raises(UserError, match=rf"^README.md: .*{sentence}"):
        fill(project)
    assert (project / "README.md").read_text() == text


def test_tables_have_distinct_names_and_docstrings():
    assert all(function.__doc__ and function.__name__ == name for name, function in TABLES.items())
