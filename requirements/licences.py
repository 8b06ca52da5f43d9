"""The licences of all installed packages: a line each, then those that a maintainer must read.

What counts is what a package says of itself: an expression of SPDX, else the classifiers, else the first line of the
field `License`. The OFL of fonts asks for itself in changed fonts alone, and is not listed for reading.
"""

import re
from importlib.metadata import Distribution, distributions

# licences that ask something of those who pass the package on, beyond its notice; as SPDX or classifiers name them
COPYLEFT = r"\b[AL]?GPL|GNU|\bMPL|Mozilla|\bEPL|Eclipse|\bCDDL|\bEUPL|European Union|\bOSL|\bSSPL|-SA\b|ShareAlike"


def licence(package: Distribution) -> str:
    """The licence that a package states, or nothing."""
    about = package.metadata
    if about["License-Expression"]:
        return about["License-Expression"]
    classifiers = [line for line in about.get_all("Classifier", []) if line.startswith("License :: ")]
    named = [line.split(" :: ")[-1] for line in classifiers if line != "License :: OSI Approved"]
    return " / ".join(named) or (about["License"] or "").strip().split("\n")[0]


def reason(stated: str) -> str:
    """Why a maintainer must read a licence, or nothing."""
    if not stated or stated.upper() in {"UNKNOWN", "OTHER/PROPRIETARY LICENSE"}:
        return "states no licence"
    return "copyleft" if re.search(COPYLEFT, stated, re.IGNORECASE) else ""


def main() -> None:
    """Print the two lists."""
    packages = sorted((each.metadata["Name"], each.version, licence(each)) for each in distributions())
    for name, version, stated in packages:
        print(f"{name:<40} {version:<16} {stated}")
    read = [(name, reason(stated), stated) for name, _, stated in packages if reason(stated)]
    print(f"\n{len(packages)} packages; a maintainer must read the licences of these {len(read)}:")
    for name, why, stated in read:
        print(f"{name:<40} {why}{f': {stated}' if stated else ''}")


if __name__ == "__main__":
    main()
