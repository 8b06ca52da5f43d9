import re
from pathlib import Path

import nbformat
import pytest

from analysis_lib import UserError
from analysis_lib.report import notebooks

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
EXPECTED = [
    "00_setup_and_data",
    "01_fine_tuning",
    "02_ncm_features",
    "03_softmax_decomposition",
    "04_weight_norms",
    "05_calibration",
    "06_gradient_similarity",
    "07_toy_example",
    "08_ablations",
    "09_gamma_estimators",
    "10_claims",
    "11_fine_tuning_methods",
    "12_temporal_shift",
    "13_petl",
]


def write_notebook(folder, *cells, tagged=True):
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    if tagged:
        notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, folder / "n.ipynb")
    return folder / "n.ipynb"


def test_the_expected_notebooks_are_there():
    assert [path.stem for path in NOTEBOOKS] == EXPECTED


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_thin_clean_and_checked(path):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    tagged = [cell for cell in code if "nbval-check-output" in cell.metadata.get("tags", [])]
    assert all(output.output_type == "stream" for cell in tagged for output in cell.outputs), "only text is compared"
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    assert notebook.cells[1].metadata["tags"] == ["parameters"]
    assert list(notebooks.parameters_of(path)) == ["benchmark", "profile", "seeds", "device"]
    assert len(code) <= 12 and max(cell.source.count("\n") + 1 for cell in code) <= 12
    assert not any(
        line.startswith(("def ", "class ", "for ", "import torch"))
        for cell in code
        for line in cell.source.splitlines()
    )
    assert tagged and all(cell.outputs and cell.execution_count for cell in tagged)
    assert not any(cell.outputs for cell in code if cell not in tagged)
    assert "papermill" not in notebook.metadata
    assert not any(re.search(r"@\w+@|TODO|XXX", cell.source) for cell in notebook.cells)
    assert str(REPOSITORY) not in path.read_text()


def test_an_unknown_parameter_is_refused_with_a_suggestion(project):
    path = write_notebook(project, "benchmark = 'digits'\nseeds = [0]")
    with pytest.raises(
        UserError, match=r"unknown notebook parameter 'sead' \(did you mean 'seeds'\?\); available: benchmark, seeds"
    ):
        notebooks.run_notebook(path, project / "out.ipynb", ["sead=1"])
    assert not (project / "out.ipynb").exists()


def test_settings_take_the_type_of_the_default():
    defaults = {"seeds": [0], "benchmark": "x"}
    assert notebooks.parse_settings(["seeds=3,5", "benchmark=emoji"], defaults) == {
        "seeds": [3, 5],
        "benchmark": "emoji",
    }
    with pytest.raises(UserError, match="seeds is 'a'; give integers"):
        notebooks.parse_settings(["seeds=a"], defaults)


def test_a_notebook_runs_with_its_settings(project):
    path = write_notebook(project, "seeds = [0]", "print(sum(seeds))")
    notebooks.run_notebook(path, project / "executed" / "out.ipynb", ["seeds=4,5"])
    cells = nbformat.read(project / "executed" / "out.ipynb", as_version=4).cells
    assert cells[-1].outputs[0].text == "9\n"


def test_a_user_error_inside_stays_one_sentence(project):
    path = write_notebook(
        project,
        "seeds = [0]",
        "from analysis_lib.studies import open_study\nopen_study('accuracy', 'digts', 'smoke', seeds)",
    )
    with pytest.raises(
        UserError, match=r"^unknown benchmark 'digts' \(did you mean 'digits'\?\); available: digits, emoji, "
    ):
        notebooks.run_notebook(path, project / "out.ipynb", [])
    assert not list(project.glob("*out*"))


def test_any_other_failure_leaves_the_notebook_to_read(project):
    path = write_notebook(project, "seeds = [0]", "1 / 0")
    with pytest.raises(
        UserError, match=r"n.ipynb failed with ZeroDivisionError: division by zero; read out.failed.ipynb"
    ):
        notebooks.run_notebook(path, project / "out.ipynb", [])
    assert (project / "out.failed.ipynb").exists() and not (project / "out.ipynb").exists()


def test_a_notebook_without_parameters_is_named(project):
    path = write_notebook(project, "1", tagged=False)
    with pytest.raises(UserError, match="n.ipynb has no cell tagged 'parameters'"):
        notebooks.run_notebook(path, project / "out.ipynb", [])


def test_a_file_that_is_no_notebook_is_named(project):
    (project / "n.ipynb").write_text("{")
    with pytest.raises(UserError, match=r"cannot read n.ipynb \(.*; give a JSON file"):
        notebooks.run_notebook(project / "n.ipynb", project / "out.ipynb", [])


def test_a_kernel_that_dies_is_one_sentence(project):
    path = write_notebook(project, "seeds = [0]", "import os\nos._exit(9)")
    with pytest.raises(UserError, match="the kernel of n.ipynb died, most likely for lack of memory"):
        notebooks.run_notebook(path, project / "out.ipynb", [])
    assert not (project / "out.ipynb").exists()
