"""Mutation testing of `analysis_lib/analysis`: small changes of its functions, each of which some test must notice.

    pip install --no-deps mutmut==3.8.1 libcst     # beside the project's packages
    python bench/mutants.py                        # all modules, on one core
    python bench/mutants.py gamma/curve stats      # some modules or rooms

The changes are mutmut's: another operator, another number, an argument left out. They are made in functions and
lambdas, but not in annotations and in what is raised. A mutant meets the tests of its room in tests/analysis that call
its function and need no trained networks. Torch is imported and the tests are collected once; each mutant is a fork.

Outcomes are kept in `mutants.csv`, and a mutant that was killed is not tried again while its row is there. Survivors
belong in docs/reference/mutants.csv, each with its reason. The exit code is 1 if one is not there, or if one that is
there has been killed or is no longer made.
"""

import argparse
import csv
import gc
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType

import _pytest.main
import pytest
from mutations import CODE, Mutant, mutants_of

HERE = Path(__file__).resolve().parent.parent
TESTS, LISTED = HERE / "tests/analysis", HERE / "docs/reference/mutants.csv"
MEMORY = 16 * 2**30  # bytes of address space of a mutant


Functions = dict[Path, dict[tuple[str, int], list[FunctionType]]]


def functions() -> Functions:
    """All functions that the garbage collector sees, by file, and by qualified name and the order of their lines."""
    by_line = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for each in gc.get_objects():
        if type(each) is FunctionType:
            code = each.__code__
            by_line[code.co_filename][code.co_qualname][code.co_firstlineno].append(each)
    return {
        Path(file): {(name, i): lines[at] for name, lines in names.items() for i, at in enumerate(sorted(lines))}
        for file, names in by_line.items()
    }


def put_in(module: str, code: str, originals: Functions) -> None:
    """Give all functions of a module the code and the defaults that they have in a changed source of it."""
    path = CODE / f"{module}.py"
    name = ".".join(path.relative_to(HERE).with_suffix("").parts)
    scratch = ModuleType(name.removesuffix(".__init__"))
    scratch.__package__ = name.rpartition(".")[0]
    exec(compile(code, str(path), "exec"), vars(scratch))  # noqa: S102  our own source
    for key, (changed, *_) in functions().get(path, {}).items():
        for each in originals[path][key]:
            each.__code__, each.__defaults__, each.__kwdefaults__ = (
                changed.__code__,
                changed.__defaults__,
                changed.__kwdefaults__,
            )


class Loop:
    """The plugin of pytest that runs mutants in place of tests."""

    def __init__(self, modules: list[str], results: Path):
        self.modules, self.results = modules, results
        self.outcomes = read(results) if results.exists() else {}
        self.made = []
        self.seconds, self.test = defaultdict(float), ""

    def pytest_configure(self) -> None:
        from hypothesis import HealthCheck, Phase, settings  # not before pytest, which rewrites its assertions

        settings.register_profile(
            "mutants",
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],  # a failure is not made small
            suppress_health_check=list(HealthCheck),
        )
        settings.load_profile("mutants")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.test = nodeid

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.failure = f"{report.nodeid}\n{report.longreprtext}"

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        rooms = {module.split("/")[0] for module in self.modules}
        tests = {item.nodeid: item for item in session.items if room(item.nodeid) in rooms}
        session.items[:] = tests.values()
        originals = functions()
        gc.freeze()  # from here on `functions` sees only what a mutant adds
        seconds, callers = self.measure(session, originals)
        for module in self.modules:
            started, made = time.perf_counter(), list(mutants_of(module))
            for mutant in made:
                if self.outcomes.get(mutant.key) != "killed":
                    chosen = sorted(set(callers.get(f"{module} {mutant.function}", [])), key=seconds.get)
                    session.items[:] = [tests[name] for name in chosen]
                    limit = 20 + 10 * int(sum(map(seconds.get, chosen)))
                    status, _ = forked(partial(self.run, session, {module: mutant.code}, originals), limit)
                    self.keep(mutant, "killed" if status else "survived")
            self.made += made
            survivors = sum(self.outcomes[mutant.key] == "survived" for mutant in made)
            took = time.perf_counter() - started
            print(f"{module:<34} {len(made):>5} mutants {survivors:>4} survive {took:>6.0f} s", flush=True)
        return True

    def measure(self, session: pytest.Session, originals: Functions) -> tuple[dict[str, float], dict[str, list[str]]]:
        """How long each test takes, and which tests of its room call each function; all tests must pass."""
        found, beginning = set(), str(CODE)

        def profile(frame, event, _):
            if event == "call" and frame.f_code.co_filename.startswith(beginning):
                found.add((frame.f_code, self.test))

        def measured() -> str:
            sources = {module: (CODE / f"{module}.py").read_text() for module in self.modules}
            sys.setprofile(profile)
            try:
                self.run(session, sources, originals)
            except session.Failed as failed:
                raise RuntimeError(self.failure) from failed
            sys.setprofile(None)
            callers = defaultdict(list)
            for code, test in found:
                module = str(Path(code.co_filename).relative_to(CODE).with_suffix(""))
                if test and room(test) == module.split("/")[0]:
                    callers[f"{module} {code.co_qualname.split('.<locals>')[0]}"].append(test)
            return json.dumps([self.seconds, callers])

        status, text = forked(measured, 3600)
        if status:
            print(f"error: the tests fail without a mutation\n{text}", file=sys.stderr)
            pytest.exit(returncode=2)
        return json.loads(text)

    def run(self, session: pytest.Session, sources: dict[str, str], originals: Functions) -> None:
        """Run the tests of a session on changed modules, up to the first failure, which is raised."""
        for module, code in sources.items():
            put_in(module, code, originals)
        _pytest.main.pytest_runtestloop(session)

    def keep(self, mutant: Mutant, outcome: str) -> None:
        """Note an outcome, also for the next run."""
        self.outcomes[mutant.key] = outcome
        with self.results.open("a", newline="") as file:
            csv.writer(file).writerow([*mutant.key, outcome])


def room(test: str) -> str:
    """The folder of a test below tests/analysis, or the module of a test that is in none."""
    return Path(test.split("::")[0]).parts[2].removeprefix("test_").removesuffix(".py")


def forked(action: Callable[[], str | None], seconds: int) -> tuple[int, str]:
    """Carry out an action in a fork: 0, or else where it raises, dies or takes too long, and its text or traceback."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if not child:
        try:
            signal.alarm(seconds)
            for stream in (1, 2):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            os.write(write_end, (action() or "").encode())
        except BaseException:  # noqa: BLE001  a mutant may raise anything
            os.write(write_end, traceback.format_exc().encode())
            os._exit(1)
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        text = pipe.read()
    return os.waitpid(child, 0)[1], text


def read(path: Path) -> dict[tuple[str, str, str], str]:
    """The last column of a table of mutants by the first three."""
    with path.open(newline="") as file:
        return {tuple(row[:3]): row[3] for row in csv.reader(file)}


def report(loop: Loop) -> int:
    """Compare the survivors with the list, and return the exit code."""
    listed = {key: reason for key, reason in read(LISTED).items() if key[0] in loop.modules}
    survivors = [mutant.key for mutant in loop.made if loop.outcomes[mutant.key] == "survived"]
    new, gone = [key for key in survivors if key not in listed], sorted(listed.keys() - set(survivors))
    for title, keys in (("survives and is not listed", new), ("is listed and does not survive", gone)):
        for module, function, mutation in keys:
            print(f"{title}: {module} {function}\n    " + mutation.replace(" => ", "\n    "))
    print(f"{len(loop.made)} mutants, {len(survivors)} survive, of these {len(survivors) - len(new)} are listed")
    return int(bool(new or gone))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="such as gamma/curve, or a room such as stats")
    parser.add_argument("--results", type=Path, default=HERE / "mutants.csv", help="default: mutants.csv")
    options = parser.parse_args()
    everything = sorted(str(path.relative_to(CODE).with_suffix("")) for path in CODE.rglob("*.py"))
    chosen = options.modules or everything
    modules = {part: [name for name in everything if name == part or name.startswith(f"{part}/")] for part in chosen}
    for part, found in modules.items():
        if not found:
            parser.error(f"there is no module or room {part!r}; give one such as gamma/curve or stats")
    loop = Loop([*dict.fromkeys(name for found in modules.values() for name in found)], options.results)
    arguments = ["-x", "-s", "-p", "no:terminal", "-p", "no:cacheprovider", "-m", "not trains", "--rootdir", str(HERE)]
    if status := pytest.main([*arguments, str(TESTS)], plugins=[loop]):
        return status
    return report(loop)


if __name__ == "__main__":
    sys.exit(main())
