"""How the options of the fine-tuning methods were chosen: `studies.method_choice`, on development seeds.

Every method gets the same number of values of one option. The value with the largest area under the seen-absent curve
is taken, on images of seen classes alone: a third of them plays the absent ones. The default options of `METHODS` are
those chosen on `emoji`; other benchmarks keep theirs in `method_options`. No test image and no reported seed has a say.

    python bench/choose_methods.py emoji default 0,10                 # about 35 minutes on 2 cores
    python bench/choose_methods.py digits default 100,101,102,103     # about 5 minutes
"""

import sys

from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.core.files import write_table
from analysis_lib.runs.execute_all import execute_all
from analysis_lib.runs.plan import plan
from analysis_lib.runs.run_set import RunSet
from analysis_lib.studies import method_choice

if __name__ == "__main__":
    benchmark, profile, seeds = sys.argv[1], sys.argv[2], [int(seed) for seed in sys.argv[3].split(",")]
    for _ in execute_all(method_choice.specs(benchmark, profile, seeds), processes=2):
        pass
    runs = RunSet(load_manifest(benchmark), tuple(plan(benchmark, profile, seeds)))
    table = method_choice.choose(method_choice.scores(runs))
    write_table(table, benchmark, "11_choice")
    print(table.round(4).to_string(index=False))
