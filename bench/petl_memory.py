"""What a training step of ViT-B/16 keeps for its backward pass, method by method: the tables of docs/petl.md.

    python bench/petl_memory.py                             # about two minutes
    python bench/petl_memory.py --output docs/reference     # for maintainers: petl_memory.csv and petl_depths.csv

What autograd saves is counted and equal on every machine; times and peaks are those of this one.
"""

import argparse
from pathlib import Path

import pandas as pd

from analysis_lib.core import files
from analysis_lib.studies.petl_memory import Case, footprints, matched_depths

QUERIES = (1, 10)  # of VQT in every block, whose memory the others are given

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="the folder to write both tables to")
    folder = parser.parse_args().output
    depths = pd.concat([matched_depths(Case(), queries=queries).assign(queries=queries) for queries in QUERIES])
    for name, table in (("petl_memory", footprints(Case())), ("petl_depths", depths)):
        print(table.round(2).to_string(index=False))
        if folder:
            files.write_text(
                folder / f"{name}.csv", table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
            )
