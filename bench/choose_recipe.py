"""How the emoji recipe was chosen: the learning rate with the best accuracy on held-out images of seen classes.

That is what somebody who fine-tunes on the seen classes alone can measure. It runs on a class split that is never
reported (seed 100) and holds out a fifth of the training groups; no test image and no absent class has a say.
The absent-class column is printed for the reader and takes no part in the choice.

    python bench/choose_recipe.py            # about 10 minutes on 2 cores
"""

import pandas as pd

from analysis_lib import accuracies, runs
from analysis_lib.data.manifest import load_manifest
from analysis_lib.outputs import load_outputs
from analysis_lib.paths import run_outputs

SEED = 100
LEARNING_RATES = [2e-3, 5e-3, 1e-2, 2e-2, 5e-2]

split = load_manifest("emoji").class_split(SEED)
rows = []
for lr in LEARNING_RATES:
    (spec,) = runs.plan("emoji", "default", [SEED], lr=lr, validation=True)
    outputs = load_outputs(run_outputs(runs.execute(spec), spec.epochs, "test"))
    scores = accuracies(outputs.logits, outputs.labels, split)
    rows.append({"lr": lr, "n seen": int(split.is_seen(outputs.labels).sum()), "Acc S/Y": scores["acc_sy"], "Acc U/Y": scores["acc_uy"]})
table = pd.DataFrame(rows)
print(table.round(3).to_string(index=False))
print(f"chosen: lr {table.loc[table['Acc S/Y'].idxmax(), 'lr']:g}")
