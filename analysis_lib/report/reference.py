"""Reference results: the kept numbers that pages and notebooks refer to.

They lie in docs/reference/<benchmark>/, a few small files that are committed. `keep` condenses them from the results of
a finished `make reproduce`, and writes down the machine, the settings and the versions.
"""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from ..core import files, paths
from ..core.errors import UserError

COMPARED = ("00_overview", "09_regrets", "claims", "summary_mean")  # that pages set beside those of other benchmarks
WHOLE = ("digits", "emoji")  # the benchmarks whose tables are all kept; of the others, those that are compared
FURTHER = {  # tables of one benchmark that have a page of their own
    "emoji_years": ("12_claims", "12_periods"),
    "glyphs": ("08_cells", "08_claims", "08_collapse"),
    "glyphs_vit": (
        "13_choice",
        "13_claims",
        "13_costs",
        "13_differences",
        "13_ensembles",
        "13_methods",
        "13_regrets",
        "13_wise_means",
    ),
}
KEPT = (  # tables of results/<benchmark>/ that pages and notebooks refer to
    "00_overview",
    "01_accuracy_change",
    "01_beyond_batchnorm",
    "02_beyond_batchnorm",
    "02_ncm_change",
    "03_beyond_batchnorm",
    "03_decomposition_change",
    "04_head_at_the_end",
    "05_against_pretrained",
    "05_calibration",
    "05_folds",
    "05_posthoc",
    "06_prediction",
    "06_splits",
    "06_step_check",
    "06_target_means",
    "07_changes",
    "09_absent_share_errors",
    "09_choices",
    "09_label_shift_regret",
    "09_regrets",
    "11_choice",
    "11_claims",
    "11_costs",
    "11_differences",
    "11_forgetting",
    "11_methods",
    "11_sequence_summary",
    "11_wise",
    "claims",
    "summary_mean",
)
PICTURES = {
    "emoji": {
        "accuracy_by_epoch": "01_accuracy_by_epoch",
        "seen_absent_curve": "05_curve",
        "explanation": "06_story",
        "methods": "11_plane",
    },
    "glyphs_vit": {"petl": "13_plane"},
}
DIGITS = "%.6g"  # of the numbers that are kept


class Missing(UserError):
    """A reference that nobody has made yet."""


@dataclass(frozen=True)
class Reference:
    """The reference results of one benchmark in a project folder."""

    root: Path
    benchmark: str

    @property
    def folder(self) -> Path:
        return self.root / "docs" / "reference" / self.benchmark

    def table(self, name: str) -> pd.DataFrame:
        """A kept table. Raises Missing, with the command that makes it."""
        return self._read(self.folder / f"{name}.csv")

    def shared(self, name: str) -> pd.DataFrame:
        """A table that belongs to no benchmark. Raises Missing."""
        return self._read(self.root / "docs" / "reference" / f"{name}.csv")

    def made_on(self) -> dict:
        """Machine, settings and versions behind the tables, and the digests of the pictures. Raises Missing."""
        path = self.folder / "made_on.json"
        if not path.exists():
            raise self._missing(path)
        return json.loads(path.read_text())

    def manifest(self) -> dict:
        """The head of the benchmark's manifest."""
        return json.loads((self.root / "data_manifests" / f"{self.benchmark}.json").read_text())

    def images(self) -> pd.DataFrame:
        """The rows of the benchmark's manifest."""
        return pd.read_csv(self.root / "data_manifests" / f"{self.benchmark}.csv")

    def _read(self, path: Path) -> pd.DataFrame:
        if not path.exists():
            raise self._missing(path)
        return pd.read_csv(path)

    def _missing(self, path: Path) -> Missing:
        made_by = f"`make reference BENCHMARK={self.benchmark}`"
        if path.stem == "processors":
            made_by = f"`python bench/processors.py {self.benchmark} --seeds 0 --levels native,lowest`, then {made_by}"
        if not self.benchmark:
            made_by = "hand and belongs to the repository; restore it with git"
        return Missing(f"There is no {path.relative_to(self.root)} yet: it is made by {made_by}.")


def beside_reference(
    frame: pd.DataFrame, benchmark: str, name: str, by: Sequence[str], values: Sequence[str] = ("mean", "low", "high")
) -> pd.DataFrame:
    """The numbers of a run, and beside each the one that is kept for its benchmark.

    frame : a table as it goes into results/; name : of the kept table; by : the columns that name a row; values : the
    columns to compare. Returns these columns, and `<value>, reference`; NaN for a row that the reference does not have,
    and no reference columns for a benchmark without one.
    """
    here = frame[[*by, *values]]
    try:
        kept = Reference(paths.checkout(), benchmark).table(name)
    except Missing:
        return here
    return here.merge(kept[[*by, *values]], on=list(by), how="left", suffixes=("", ", reference"))


def keep(root: Path, benchmark: str, source: Path) -> None:
    """Condense the results of the project folder `source` into the reference of `root`, with its pictures.

    Call it on the machine that made the results: it writes down which one that is. Raises UserError where results are
    missing.
    """
    results, reference = source / "results" / benchmark, Reference(root, benchmark)
    settings = source / "executed" / benchmark / "settings"
    kept = KEPT if benchmark in WHOLE else (*COMPARED, *FURTHER.get(benchmark, ()))
    for path in (settings, *(results / f"{name}.csv" for name in kept)):
        if not path.exists():
            raise UserError(f"there is no {path.relative_to(source)}; run `make reproduce BENCHMARK={benchmark}` first")
    tables = {name: results / f"{name}.csv" for name in kept}
    spread = source / ".venv" / "processors" / f"{benchmark}.csv"  # where bench/processors.py leaves it
    if spread.exists():
        tables["processors"] = spread
    for name, path in tables.items():
        _write_table(reference.folder / f"{name}.csv", path)
    digests = {}
    for name, figure in PICTURES.get(benchmark, {}).items():
        content = (source / "figures" / benchmark / f"{figure}.png").read_bytes()
        files.write_bytes(root / "docs" / f"{name}.png", content)
        digests[name] = hashlib.sha256(content).hexdigest()
    made = dict(setting.split("=", 1) for setting in settings.read_text().split())
    files.write_json(
        reference.folder / "made_on.json",
        {
            **machine(),
            **environment(source, benchmark),
            "profile": made["profile"],
            "seeds": made["seeds"],
            "pictures": digests,
            "date": datetime.fromtimestamp((results / "claims.csv").stat().st_mtime, UTC).date().isoformat(),
        },
    )


def _write_table(target: Path, source: Path) -> None:
    files.write_text(target, pd.read_csv(source).to_csv(index=False, float_format=DIGITS, lineterminator="\n"))


def machine() -> dict:
    """This machine's processor: its name, the instruction set that torch uses, and its cores. No host name."""
    import torch

    name, cpuinfo = "unknown processor", Path("/proc/cpuinfo")
    if cpuinfo.exists():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        name = found[1] if found else name
    return {"processor": name, "level": torch.backends.cpu.get_cpu_capability(), "cores": os.cpu_count()}


def environment(source: Path, benchmark: str) -> dict:
    """Threads and versions that the benchmark's runs wrote down. Raises UserError where the runs do not agree on
    versions.
    """
    recorded = [
        json.loads(path.read_text()) for path in sorted((source / "runs").glob(f"{benchmark}-*/environment.json"))
    ]
    versions = {json.dumps(each["versions"], sort_keys=True) for each in recorded}
    if len(versions) != 1:
        raise UserError(
            f"the runs of {benchmark} were made with {len(versions)} sets of versions; `make clean` and run them again"
        )
    return {"threads": sorted({each["threads"] for each in recorded}), "versions": json.loads(versions.pop())}
