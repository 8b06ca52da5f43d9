"""How the learning rates of parameter-efficient methods were chosen: `studies.petl_choice`, on development seeds.

Every method gets the same six rates. The rate with the largest area under the seen-absent curve is taken, on images of
seen classes alone: a third of them plays the absent ones. What is chosen stands in the benchmark's `petl_rates`. No
test image and no reported seed has a say.

    python bench/choose_petl_rates.py glyphs_vit full 100,101     # about 40 minutes on 2 cores
"""

import sys

from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.core.files import write_table
from analysis_lib.runs.execute_all import execute_all
from analysis_lib.runs.plan import plan
from analysis_lib.runs.run_set import RunSet
from analysis_lib.studies import method_choice, petl_choice

if __name__ == "__main__":
    benchmark, profile, seeds = sys.argv[1], sys.argv[2], [int(seed) for seed in sys.argv[3].split(",")]
    for _ in execute_all(petl_choice.specs(benchmark, profile, seeds), processes=2):
        pass
    runs = RunSet(load_manifest(benchmark), tuple(plan(benchmark, profile, seeds)))
    table = method_choice.choose(petl_choice.scores(runs, profile))
    write_table(table, benchmark, "13_choice")
    print(table.round(4).to_string(index=False))
