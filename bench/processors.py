"""How far a benchmark's numbers part between processors: the same runs under three instruction sets and two thread counts.

    python bench/processors.py emoji --seeds 0

Lower levels are chosen by the environment, so any machine shows them. Runs are kept in a folder of each setting's own.
Prints one row per metric of the fine-tuned network, in percent or in logits, and the largest difference; writes `<benchmark>.csv`.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

LEVELS = {
    "native": {},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "lowest": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
}
MEASURE = """
import sys
from analysis_lib import shifts, study
benchmark, profile, seeds = sys.argv[1], sys.argv[2], [int(seed) for seed in sys.argv[3].split(",")]
runs = study.open_study("calibration", benchmark, profile, seeds, "cpu")
ends = study.checkpoints_only(runs, study.metrics_by_epoch(runs)).query("checkpoint == 'fine-tuned'")
ends = ends[ends["metric"].isin(["acc_yy", "acc_sy", "acc_uy", "acc_ss", "acc_uu", "ncm_acc_uy", "p_absent_u", "ausuc"])]
rows = ends[["seed", "metric", "value"]]
for spec in runs.specs:
    best, logits = runs.curve(spec, spec.epochs).best(), runs.outputs(spec, spec.epochs, "test").logits
    chosen = shifts.choosers(runs, spec)["stand_in"]()
    rows.loc[len(rows) + 10_000 + spec.seed * 10] = [spec.seed, "gamma*", best.gamma]
    rows.loc[len(rows) + 10_001 + spec.seed * 10] = [spec.seed, "gamma stand_in", chosen]
    rows.loc[len(rows) + 10_002 + spec.seed * 10] = [spec.seed, "mean logit", logits.double().mean().item()]
rows.to_csv(sys.argv[4], index=False)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark")
    parser.add_argument("--profile", default="default")
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--folder", default=".venv/processors", help="where the runs of each setting are kept (default: %(default)s)")
    parser.add_argument("--levels", default=",".join(LEVELS))
    parser.add_argument("--threads", default="1,2")
    options = parser.parse_args()
    here, tables = Path.cwd(), []
    for level in options.levels.split(","):
        for threads in options.threads.split(","):
            root = here / options.folder / f"{level}-{threads}"
            root.mkdir(parents=True, exist_ok=True)
            for shared in ("data_manifests", "data"):
                if not (root / shared).exists():
                    (root / shared).symlink_to(here / shared)
            table = root / f"{options.benchmark}.csv"
            environment = os.environ | LEVELS[level] | {"FTC_ROOT": str(root), "OMP_NUM_THREADS": threads}
            print(f"{level}, {threads} threads", file=sys.stderr, flush=True)
            subprocess.run([sys.executable, "-c", MEASURE, options.benchmark, options.profile, options.seeds, str(table)], env=environment, check=True)
            tables.append(pd.read_csv(table).assign(setting=f"{level}, {threads}"))
    wide = pd.concat(tables).pivot(index=["seed", "metric"], columns="setting", values="value")
    wide["range"] = wide.max(axis=1) - wide.min(axis=1)
    wide.to_csv(here / options.folder / f"{options.benchmark}.csv")
    print(wide.round(4).to_string())


if __name__ == "__main__":
    main()
