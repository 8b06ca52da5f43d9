"""The mutants of a module of `analysis_lib/analysis`: one small change of a function each, by mutmut's operators."""

from collections import defaultdict
from collections.abc import Iterator
from difflib import ndiff
from pathlib import Path
from typing import NamedTuple

import libcst as cst
from libcst import matchers
from mutmut.mutation.mutators import mutation_operators

CODE = Path(__file__).resolve().parent.parent / "analysis_lib/analysis"
SKIPPED = (
    matchers.Annotation()
    | matchers.Raise()
    | matchers.Decorator()
    | matchers.Expr(matchers.SimpleString())
    | matchers.Call(matchers.Name("len") | matchers.Name("isinstance"))
)


class Mutant(NamedTuple):
    """A change: where it is, as `old lines => new lines`, and the whole changed module."""

    module: str
    function: str
    mutation: str
    code: str

    @property
    def key(self) -> tuple[str, str, str]:
        return self[:3]


class Changes(cst.CSTVisitor):
    """Every node that an operator changes, with its changed form and the outermost function that it is in."""

    def __init__(self):
        self.names, self.depth, self.found = [], 0, []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if matchers.matches(node, SKIPPED):
            return False
        if isinstance(node, cst.FunctionDef | cst.ClassDef | cst.Lambda):
            self.names.append("<lambda>" if isinstance(node, cst.Lambda) else node.name.value)
            self.depth += not isinstance(node, cst.ClassDef)
        if self.depth:
            for kind, operator in mutation_operators:
                if isinstance(node, kind):
                    self.found += [(self.function(), node, changed) for changed in operator(node)]
        return True

    def on_leave(self, node: cst.CSTNode) -> None:
        if isinstance(node, cst.FunctionDef | cst.ClassDef | cst.Lambda) and not matchers.matches(node, SKIPPED):
            self.names.pop()
            self.depth -= not isinstance(node, cst.ClassDef)

    def function(self) -> str:
        """The class and the method, or the function."""
        return ".".join(self.names[: len(self.names) - self.depth + 1])


def mutants_of(module: str) -> Iterator[Mutant]:
    """The mutants of a module such as `gamma/curve`."""
    source = (CODE / f"{module}.py").read_text()
    tree, changes, seen = cst.parse_module(source), Changes(), defaultdict(int)
    tree.visit(changes)
    for function, node, changed in changes.found:
        code = tree.deep_replace(node, changed).code
        lines = list(ndiff(source.splitlines(), code.splitlines()))
        old, new = (" ".join(line[2:].strip() for line in lines if line[0] == sign) for sign in "-+")
        mutation = f"{old} => {new}"
        seen[function, mutation] += 1
        if seen[function, mutation] > 1:
            mutation += f" ({seen[function, mutation]})"
        yield Mutant(module, function, mutation, code)
