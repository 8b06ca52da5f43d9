"""How the learning rate of a benchmark's recipe was chosen.

The rule was: of the learning rates whose accuracy on held-out images of seen classes is within one standard error of
the best (all a practitioner could tell apart), take the one that hurts the absent classes most, because the damage is
what this project studies. It runs on a class split that is never reported (seed 100) and on images held out from
training: a fifth of each class's groups, at least one where it has several. No test image has a say.

    python bench/choose_recipe.py [emoji]    # about 10 minutes on 2 cores; a few on glyphs and glyphs_vit
"""

import sys

import pandas as pd

from analysis_lib import accuracies
from analysis_lib.benchmarks.manifest import load_manifest
from analysis_lib.core.paths import run_outputs
from analysis_lib.runs import execute, plan
from analysis_lib.runs.outputs import load_outputs

SEED = 100
LEARNING_RATES = [2e-3, 5e-3, 1e-2, 2e-2, 5e-2]
benchmark = sys.argv[1] if len(sys.argv) > 1 else "emoji"
split = load_manifest(benchmark).class_split(SEED)
rows = []
for lr in LEARNING_RATES:
    (spec,) = plan.plan(benchmark, "default", [SEED], lr=lr, validation=True, record_every=5)
    run_id = execute.execute(spec)
    before, after = (load_outputs(run_outputs(run_id, epoch, "test")) for epoch in (0, spec.epochs))
    start, end = (accuracies(outputs.logits, outputs.labels, split) for outputs in (before, after))
    n = int(split.is_seen(after.labels).sum())
    error = (end["acc_sy"] * (1 - end["acc_sy"]) / n) ** 0.5
    rows.append(
        {
            "lr": lr,
            "acc_sy": end["acc_sy"],
            "standard error": error,
            "n": n,
            "acc_uy before": start["acc_uy"],
            "acc_uy": end["acc_uy"],
            "acc_uu before": start["acc_uu"],
            "acc_uu": end["acc_uu"],
        }
    )
table = pd.DataFrame(rows)
best = table.loc[table["acc_sy"].idxmax()]
table["within one error"] = table["acc_sy"] >= best["acc_sy"] - best["standard error"]
print(table.round(3).to_string(index=False))
print(f"chosen: lr {table.loc[table['within one error']].sort_values('acc_uy')['lr'].iloc[0]:g}")
