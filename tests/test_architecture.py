"""The shape of the house: which way imports go, and what must not appear in it."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "analysis_lib"
MODULES = sorted(PACKAGE.rglob("*.py"))
# Data flows one way: a room imports only from rooms above it, or from itself.
ROOMS = [
    "core",
    "analysis",
    "benchmarks",
    "models",
    "training",
    "methods",
    "runs",
    "studies",
    "related",
    "plots",
    "deploy",
    "report",
    "cli",
]
RANK = {room: rank for rank, room in enumerate([*ROOMS, "__init__", "__main__"])}


def part(module):
    """The room a file belongs to: its folder inside the package, or its own name."""
    first = module.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(module):
    """Rooms that a module imports from the package, by relative import."""
    folder = module.parent
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = folder
            for _ in range(node.level - 1):
                base = base.parent
            inside = [*base.relative_to(PACKAGE).parts, *(node.module.split(".") if node.module else [])]
            yield from {inside[0]} if inside else {alias.name for alias in node.names}
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
            assert not any(name.split(".")[0] == "analysis_lib" for name in names), (
                "use relative imports inside the package"
            )


def tracked():
    names = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout.split()
    return [REPOSITORY / name for name in names if (REPOSITORY / name).exists()]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_imports_go_one_way(module):
    own = RANK[part(module)]
    upward = {name for name in imported(module) if RANK[name] > own}
    assert not upward, f"{module.name} imports {upward} from a later room"


def test_the_import_check_sees_imports():
    assert {"benchmarks", "core", "models", "training"} <= set(imported(PACKAGE / "runs" / "execute.py"))
    assert set(imported(PACKAGE / "analysis" / "metrics" / "accuracy.py")) == {"core"}


def test_every_file_lies_in_a_room():
    assert {part(module) for module in MODULES} <= set(RANK)
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} <= set(ROOMS)


def test_related_systems_do_not_import_each_other():
    for module in (PACKAGE / "related").rglob("*.py"):
        assert "related" not in set(imported(module)), module


@pytest.mark.parametrize("module", sorted((PACKAGE / "analysis").rglob("*.py")), ids=lambda module: module.stem)
def test_analysis_is_pure(module):
    assert set(imported(module)) <= {"core", "analysis"}
    text = module.read_text()
    assert set(re.findall(r"from \.+core(?:\.(\w+))? import", text)) <= {"errors", "class_split"}
    assert not re.search(r"\bopen\(|Path\(|os\.|device\(\"", text)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_forbidden_words(module):
    text = module.read_text()
    assert not re.search(r"\.cuda\(|\bpickle\b|np\.load\(|(?<!safetensors\.)torch\.save\(|manual_seed_all", text)
    for call in re.findall(r"torch\.load\([^\n]*\)", text):
        assert "weights_only=True" in call
    assert text.startswith('"""'), "every module says in a docstring what it is"


def test_every_public_function_has_a_docstring():
    for module in MODULES:
        if module.name == "__main__.py":
            continue
        for node in ast.parse(module.read_text()).body:
            if (
                isinstance(node, (ast.FunctionDef, ast.ClassDef))
                and not node.name.startswith("_")
                and module.name != "paths.py"
            ):
                assert ast.get_docstring(node), f"{module.name}: {node.name}"


def test_no_machine_paths_and_no_registry_hosts():
    for path in tracked():
        if path.suffix in {".py", ".md", ".ipynb", ".toml", ".txt", ".yml", ".json", ".csv", ""}:
            text = path.read_text()
            assert not re.search(r"(?<![\w.])/(home|root|work|Users)/\w", text), path
            assert not re.search(r"registry\.npmjs|pypi\.org/simple|files\.pythonhosted", text), path


def test_ignore_rules_are_anchored_and_swallow_no_package():
    names = {str(path.relative_to(REPOSITORY)) for path in tracked()}
    assert {str(module.relative_to(REPOSITORY)) for module in MODULES} <= names
    for line in (REPOSITORY / ".gitignore").read_text().splitlines():
        assert line.startswith("/") or line in {"__pycache__/", ".ipynb_checkpoints/"}, line


def test_only_paths_joins_path_strings():
    for module in MODULES:
        if module.name != "paths.py":
            assert not re.search(r"paths\.\w+\([^)]*\) / |os\.path\.join|root\(\) / ", module.read_text()), module


def test_the_three_environments_agree():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + project["optional-dependencies"]["test"]
    pins = dict(
        line.lower().replace("_", "-").split("==") for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
    )
    own = "analysis_lib["  # an extra of the project itself: its packages are wanted too
    extras = [name.removeprefix(own).removesuffix("]") for name in wanted if name.startswith(own)]
    wanted = [name for name in wanted if not name.startswith(own)]
    wanted += [name for extra in extras for name in project["optional-dependencies"][extra]]
    for requirement in wanted:
        name, _, version = requirement.partition("==")
        assert name.lower() in pins, f"{name} has no pin in constraints.txt"
        assert version in ("", pins[name.lower()]), name
    conda = (REPOSITORY / "environment.yml").read_text()
    assert "--constraint constraints.txt" in conda and "--editable .[test]" in conda
    assert "python=3.11" in conda and "nodejs" in conda
    assert project["requires-python"] == ">=3.11"
