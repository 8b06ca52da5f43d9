"""`make site`: README, docs, the executed notebooks of one benchmark and the API reference as static pages.

The sources are gathered in a temporary folder laid out like the repository, so links between pages work as they stand.
"""

import pkgutil
import re
import shutil
import sys
from pathlib import Path

import nbformat
from sphinx.cmd.build import build_main

import analysis_lib as package
from analysis_lib.core import files

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
WIDGET = "application/vnd.jupyter.widget-view+json"
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#:]+)(#[^)\s]*)?\)")  # to a file; an address with a colon leads elsewhere
HEADING = re.compile(r"^#+ +(.+)", re.MULTILINE)
SECTION = "{title}\n{line}\n\n.. automodule:: {name}\n   :members:\n   :ignore-module-all:\n\n"
# What a browser loads by itself from another place; a plain <a href> may lead there.
FETCHED = re.compile(
    r"""<(?!a\b)\w[^>]*?\s(?:src|srcset|href|data|poster)=["']?(?:https?:)?//[^"' >]+"""
    r"""|(?:url\(|@import )\s*["']?(?:https?:)?//[^"') ]+"""
)


def gather_pages(target: Path) -> None:
    """Copy the Markdown pages and what lies beside them; the README becomes `index.md`."""
    shutil.copytree(REPOSITORY / "docs", target / "docs", ignore=shutil.ignore_patterns(HERE.name))
    for path in REPOSITORY.glob("*.md"):
        shutil.copy(path, target)

    def link_inside(link: re.Match) -> str:
        text, address, anchor = link.groups(default="")
        goal = (page.parent / address).resolve()
        if goal == target / "README.md":
            return f"[{text}]({address.removesuffix(goal.name)}index.md{anchor})"
        known = goal.is_relative_to(target) and (REPOSITORY / goal.relative_to(target)).exists()
        return text if known and not goal.is_file() else link[0]  # what exists nowhere stays, for Sphinx to refuse

    for page in target.rglob("*.md"):
        text = LINK.sub(link_inside, page.read_text())
        page.write_text(text.replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"))  # a mean beside its spread
    (target / "README.md").rename(target / "index.md")


def gather_notebooks(notebooks: list[Path], target: Path) -> None:
    """Copy the executed notebooks without live widgets, which need a kernel and scripts from outside.

    A figure is named after the heading above it; the text around it says what it shows.
    """
    target.mkdir(parents=True)
    for path in notebooks:
        notebook = nbformat.read(path, as_version=4)
        notebook.metadata.pop("widgets", None)
        heading = ""
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                heading = (HEADING.findall(cell.source) or [heading])[-1]
            else:
                cell.metadata["mystnb"] = {"image": {"alt": f"Figure: {heading}"}}
                cell.outputs = [output for output in cell.outputs if WIDGET not in output.get("data", {})]
        nbformat.write(notebook, target / path.name)


def write_reference(target: Path) -> None:
    """A page for each room, that is each folder of the package, with a section for each module in it."""
    target.mkdir()
    modules = [(found.name, found.ispkg) for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    for name, is_room in [(package.__name__, True), *modules]:
        if "._" in name:
            continue
        room, title = (name, name) if is_room else name.rsplit(".", 1)
        with (target / f"{room}.rst").open("a") as page:
            title = title.removeprefix(f"{package.__name__}.")
            page.write(SECTION.format(title=title, line=("=" if is_room else "-") * len(title), name=name))
            if name == package.__name__:
                page.write("Importable from here, described in their rooms:\n\n")
                for public in sorted(package.__all__, key=str.lower):
                    item = getattr(package, public)
                    room = getattr(item, "__module__", package.__name__)
                    page.write(f"* :py:obj:`{public} <{room}.{getattr(item, '__qualname__', public)}>`\n")
                page.write("\n")


def add_contents(source: Path, benchmark: str) -> None:
    """Append to the front page what the side bar lists; guides in the order of the README's last words on them."""
    index = source / "index.md"
    text = readme = index.read_text()
    guides = sorted(source.glob("docs/*.md"))
    parts = {
        "Guide": sorted(guides, key=lambda page: (page.name not in readme, readme.rfind(page.name))),
        f"Notebooks: {benchmark}": sorted(source.glob("notebooks/*")),
        "Reference": sorted(source.glob("api/*"), key=lambda page: page.stem),
        "Project": sorted(set(source.glob("*.md")) - {index}),
    }
    for caption, pages in parts.items():
        names = "\n".join(str(page.relative_to(source).with_suffix("")) for page in pages)
        text += f'\n\n```{{toctree}}\n:hidden:\n:caption: "{caption}"\n\n{names}\n```\n' if pages else ""
    index.write_text(text)


def fetched_from_outside(site: Path) -> list[str]:
    """Every resource that a page would load from another place, as `page: what it loads`."""
    pages = [path for path in sorted(site.rglob("*")) if path.suffix in {".html", ".css"}]
    return [f"{page.relative_to(site)}: {found[0]}" for page in pages for found in FETCHED.finditer(page.read_text())]


def main(benchmark: str, executed: str = "", site: str = "") -> int:
    """Write the site whole or not at all: 0 when it is there, 1 where a page must be mended, 2 without notebooks."""
    executed = Path(executed or REPOSITORY / "executed" / benchmark)
    site = Path(site or REPOSITORY / "site").resolve()
    notebooks = [path for path in executed.glob("*.ipynb") if path.name.count(".") == 1]  # no drafts, none that failed
    if not notebooks:
        print(
            f"error: there are no executed notebooks of {benchmark!r}; make them with "
            f"`make reproduce BENCHMARK={benchmark}` and run the same command again",
            file=sys.stderr,
        )
        return 2
    work = site.with_name(f".{site.name}.tmp")
    with files.locked("site"):
        shutil.rmtree(work, ignore_errors=True)  # what a killed process left
        try:
            return build(benchmark, notebooks, work, site)
        finally:
            shutil.rmtree(work)


def build(benchmark: str, notebooks: list[Path], work: Path, site: Path) -> int:
    """Build the site in the folder `work`, then put it in the place of the old one. Returns as `main`."""
    source, html = work / "source", work / "html"
    gather_pages(source)
    gather_notebooks(notebooks, source / "notebooks")
    write_reference(source / "api")
    add_contents(source, benchmark)
    options = ["-q", "-W", "--keep-going", "-c", str(HERE), "-d", str(work / "doctrees")]
    if build_main([*options, str(source), str(html)]):
        return 1
    if outside := fetched_from_outside(html):
        print("error: the site must work offline, but loads from outside:", *outside, sep="\n", file=sys.stderr)
        return 1
    (html / ".buildinfo").unlink()
    shutil.rmtree(html / "_sources", ignore_errors=True)
    if site.exists():
        site.rename(work / "old")
    html.rename(site)
    print(f"done: open {site / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
