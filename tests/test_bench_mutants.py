"""The list of mutants that no test can notice speaks of code that is there."""

import ast
from pathlib import Path

import pandas as pd

REPOSITORY = Path(__file__).resolve().parent.parent


def functions(tree, prefix=""):
    """The names of functions and methods, and `<lambda>` for those outside them."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef):
            yield prefix + node.name
        elif isinstance(node, ast.ClassDef):
            yield from functions(node, f"{node.name}.")
        elif isinstance(node, ast.Lambda):
            yield f"{prefix}<lambda>"
        else:
            yield from functions(node, prefix)


def test_every_listed_mutant_changes_code_that_is_there_and_has_a_reason():
    listed = pd.read_csv(REPOSITORY / "docs/reference/mutants.csv", keep_default_na=False)
    assert list(listed.columns) == ["module", "function", "mutation", "reason"]
    assert not listed.duplicated(["module", "function", "mutation"]).any()
    for row in listed.itertuples():
        source = (REPOSITORY / "analysis_lib/analysis" / f"{row.module}.py").read_text()
        assert row.function in functions(ast.parse(source)), row
        old, _, new = row.mutation.partition(" => ")
        assert old in " ".join(line.strip() for line in source.splitlines()) and new, row
        assert len(row.reason) > 20 and "\n" not in row.reason, row
