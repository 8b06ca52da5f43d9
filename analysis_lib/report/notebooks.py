"""Execute notebooks without a browser, through papermill.

Unknown parameters are refused, and the output is written completely or not at all.
"""

import ast
import logging
import os
from pathlib import Path

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError

from ..core import external_files, files, paths
from ..core.errors import UserError, unknown
from ..core.progress import HEADLESS


def parameters_of(notebook: Path) -> dict[str, object]:
    """Names and default values from the cell tagged `parameters`. Raises UserError without such a notebook or cell."""
    if not notebook.is_file():
        raise UserError(f"there is no notebook {paths.display(notebook)}; name one of those in notebooks/")
    content, where = external_files.read_json(notebook), paths.display(notebook)
    try:
        nbformat.validate(content, version=4)
    except nbformat.ValidationError:
        raise UserError(f"{where} is no notebook of format 4; restore it with git") from None
    cells = [
        cell
        for cell in nbformat.reads(external_files.read_text(notebook), as_version=4).cells
        if "parameters" in cell.metadata.get("tags", [])
    ]
    if not cells:
        raise UserError(f"{paths.display(notebook)} has no cell tagged 'parameters'; tag the cell that sets them")
    try:
        return {
            node.targets[0].id: ast.literal_eval(node.value)
            for node in ast.parse(cells[0].source).body
            if isinstance(node, ast.Assign)
        }
    except (ValueError, SyntaxError, AttributeError):  # the last for what is assigned to no plain name
        raise UserError(
            f"{where}: the cell tagged 'parameters' must set names to plain values; restore it with git"
        ) from None


def parse_settings(settings: list[str], defaults: dict[str, object]) -> dict[str, object]:
    """Values from `name=value` texts, of the types of the notebook's defaults; a list is given as `a,b,c`.

    Raises UserError for an unknown name, with a suggestion, and for a value that does not fit.
    """
    values = {}
    for setting in settings:
        name, _, text = setting.partition("=")
        if name not in defaults:
            raise unknown("notebook parameter", name, defaults)
        if name in values:
            raise UserError(f"the notebook parameter {name} is given twice; give it once")
        values[name] = parse_integers(name, text) if isinstance(defaults[name], list) else text
    return values


def parse_integers(name: str, text: str) -> list[int]:
    """The integers of a text such as `0,1,2`. Raises UserError for any other text, and for a number that repeats."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{name} is {text[:80]!r}; give integers separated by commas, such as 0,1,2") from None
    if len(set(numbers)) < len(numbers):
        raise UserError(f"{name} is {text!r}; give at least one, and each once: a repeated number is no further sample")
    return numbers


def run_notebook(notebook: Path, output: Path, settings: list[str]) -> None:
    """Execute `notebook` with `settings` and write it to `output`.

    A UserError inside the notebook is raised again here; any other failure writes `<output>.failed.ipynb`.
    """
    values = parse_settings(settings, parameters_of(notebook))
    logging.getLogger("papermill").setLevel(logging.ERROR)
    os.environ[HEADLESS] = "1"  # the kernel inherits it
    failed = output.with_suffix(".failed.ipynb")
    with files.replacing(output) as temporary:
        draft = temporary.with_name(f"{temporary.name}.ipynb")  # papermill knows the format by the name
        try:
            papermill.execute_notebook(
                notebook,
                draft,
                parameters=values,
                cwd=str(notebook.parent),
                progress_bar=False,
                extra_arguments=["--IPKernelApp.log_level=ERROR"],
                shutdown_kernel="immediate",  # one that is told to end in the middle of a cell prints a traceback
            )
            draft.replace(temporary)
        except papermill.PapermillExecutionError as error:
            if error.ename == UserError.__name__:
                raise UserError(error.evalue) from None
            draft.replace(failed)
            raise UserError(
                f"{paths.display(notebook)} failed with {error.ename}: {error.evalue}; read {paths.display(failed)}"
            ) from None
        except DeadKernelError:
            raise UserError(
                f"the kernel of {paths.display(notebook)} died, most likely for lack of memory; close other programs "
                "and run the same command again"
            ) from None
        finally:
            draft.unlink(missing_ok=True)
    failed.unlink(missing_ok=True)
