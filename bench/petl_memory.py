"""What a training step of ViT-B/16 keeps for its backward pass, method by method: the tables of docs/petl.md.

    python bench/petl_memory.py                             # about three minutes
    python bench/petl_memory.py --output docs/reference     # for maintainers: petl_memory.csv and petl_depths.csv

What autograd saves is counted and equal on every machine; times and peaks are those of this one.
"""

import argparse
from pathlib import Path

from analysis_lib.core import files
from analysis_lib.studies.petl_memory import Case, footprints, matched_depths

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="the folder to write both tables to")
    folder = parser.parse_args().output
    for name, table in (("petl_memory", footprints(Case())), ("petl_depths", matched_depths(Case()))):
        print(table.round(2).to_string(index=False))
        if folder:
            files.write_text(
                folder / f"{name}.csv", table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
            )
