"""Manifests: the fixed classes, files and train-test split of a benchmark, read and verified.

Head (`<name>.json`): what the benchmark is, its licences, model, image size, and the sha256 of the body.
Body (`<name>.csv`): one row per image with columns path, label, split, group, sha256, and date and place where they
are known. Images of one group show the same drawing (or person, or scene) and are never divided between train and
test. Rows of the split `source` are images of the source domain: the starting network is trained on them alone.
"""

import hashlib
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Annotated

import pandas as pd
import pydantic
import torch

from ..core import external_files, files, paths
from ..core.class_split import ClassSplit
from ..core.errors import UNPRINTABLE, UserError, unknown
from ..core.seeds import generator_for
from .periods import test_periods

COLUMNS = ["path", "label", "split", "group", "sha256"]
OPTIONAL = ["date", "place"]  # further columns: when (an ISO date, or its year) and where an image was made
SOURCE = "source"  # the split of source images, and the weights that are trained here on them
NO_NETWORK = "none"  # the model and the weights until `manifest network` names them

FileName = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z0-9][\w.-]*$")]  # it names a file, so it leads nowhere else
Share = Annotated[float, pydantic.Field(gt=0, le=1)]
Finite = Annotated[float, pydantic.Field(allow_inf_nan=False)]
Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]


LARGEST = 4096  # pixels of an image's side


def _printable(text: str) -> str:
    if UNPRINTABLE.search(text):
        raise ValueError("it holds a control character")
    return text


Line = Annotated[str, pydantic.AfterValidator(_printable)]
Name = Annotated[Line, pydantic.Field(min_length=1)]


def _distinct(names: list[str]) -> list[str]:
    for name, times in Counter(names).items():
        if times > 1:
            raise ValueError(f"the class {name!r} is there twice")
    return names


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Licence(_Strict):
    """A set of images, who made it and under which licence."""

    name: str
    author: str
    licence: str
    package: str
    version: str
    integrity: str


class Augmentation(_Strict):
    """Random crops of `scale` of the area, resized back, and horizontal flips if they do not change the class."""

    scale: tuple[Share, Share]
    flip: bool

    @pydantic.field_validator("scale")
    @classmethod
    def _rising(cls, scale: tuple[float, float]) -> tuple[float, float]:
        if scale[0] > scale[1]:
            raise ValueError("the smaller share comes first")
        return scale


def _later(default=None):
    """A field that came later: at its default it is left out, so that the digests of older manifests stay."""
    return pydantic.Field(default, exclude_if=lambda value: value == default)


class Head(_Strict):
    """Everything in a manifest except its rows.

    class_ids : rows of a packaged head that are kept, in class order.
    weights : a package of `models.pretrained.WEIGHTS`, imported weights, or `source`: trained here on source images.
    `none`, as the model may be, until `manifest network` names them. Imported ones without a head get a new one.
    backbone : imported weights without a head, from which the training on source images starts; None for random ones.
    rows : the name of another benchmark whose body this one shares, such as the same images for another network.
    stretched : image files are resized to squares whole; else their shorter side is, and the centre cropped.
    recipe : the entry of `benchmarks.BENCHMARKS` whose recipes it takes; None for those of its builder.
    """

    name: FileName
    title: Line
    source: Line
    builder: str
    licences: list[Licence]
    class_names: Annotated[list[Name], pydantic.Field(min_length=2), pydantic.AfterValidator(_distinct)]
    class_ids: list[pydantic.NonNegativeInt] | None = None
    seen: Share | list[str]
    model: str
    weights: FileName
    image_size: Annotated[int, pydantic.Field(gt=0, le=LARGEST)]
    mean: tuple[Finite, Finite, Finite]
    std: tuple[Positive, Positive, Positive]
    augmentation: Augmentation
    sha256: str
    backbone: FileName | None = _later()
    rows: FileName | None = _later()
    stretched: bool = _later(False)
    recipe: str | None = _later()

    @pydantic.field_validator("seen")
    @classmethod
    def _some_classes(cls, seen: float | list[str], info: pydantic.ValidationInfo) -> float | list[str]:
        names = info.data.get("class_names")
        if names and isinstance(seen, list):
            if strange := [name for name in seen if name not in names]:
                raise ValueError(f"{strange[0]!r} is none of the classes")
            if not 0 < len(set(seen)) == len(seen) < len(names):
                raise ValueError("name some of the classes and not all, each once")
        return seen


@dataclass(frozen=True)
class Manifest:
    """A verified head and body; `digest` is a hash of both."""

    head: Head
    body: pd.DataFrame
    digest: str

    @property
    def name(self) -> str:
        return self.head.name

    @property
    def class_names(self) -> list[str]:
        return self.head.class_names

    @property
    def labels(self) -> torch.Tensor:
        """(N,) int64, in row order."""
        return torch.tensor(self.body["label"].to_numpy())

    def rows(self, split: str) -> torch.Tensor:
        """Row numbers of `train`, `test` or `source`, int64."""
        return torch.tensor((self.body["split"] == split).to_numpy()).nonzero().squeeze(1)

    @property
    def target_rows(self) -> torch.Tensor:
        """Row numbers of all images of the target domain, int64."""
        return torch.tensor((self.body["split"] != SOURCE).to_numpy()).nonzero().squeeze(1)

    @property
    def periods(self) -> pd.Series:
        """The period of each row's date, in row order, for test rows: see `periods.test_periods`."""
        return test_periods(self.body)

    def class_split(self, seed: int, seen: Sequence[str] = ()) -> ClassSplit:
        """Seen and absent classes: those named in `seen`, else in the head, else a share drawn by a named seed.

        Raises UserError for a name that is not a class, and for an empty seen or absent set.
        """
        chosen = list(seen) or self.head.seen
        if isinstance(chosen, float):
            order = torch.randperm(len(self.class_names), generator=generator_for("split", self.name, seed))
            return ClassSplit(len(self.class_names), order[: round(chosen * len(order))].tolist())
        for name in chosen:
            if name not in self.class_names:
                raise unknown(f"class in benchmark {self.name!r}", name, self.class_names)
        return ClassSplit(len(self.class_names), [self.class_names.index(name) for name in chosen])


def load_manifest(benchmark: str) -> Manifest:
    """Read and verify a manifest. Raises UserError that names the file, the first offenders and the remedy."""
    return read_manifest(_known_head(benchmark))


def load_head(benchmark: str) -> Head:
    """The head of a manifest alone. Raises UserError as `load_manifest`."""
    return _read_head(_known_head(benchmark))


def _known_head(benchmark: str) -> Path:
    available = [path.stem for path in paths.manifests().glob("*.json")]
    if benchmark not in available:
        raise unknown("benchmark", benchmark, available)
    return paths.manifest_head(benchmark)


def _read_head(path: Path) -> Head:
    return _parse_head(_read(path), path)


def _parse_head(raw: bytes, path: Path) -> Head:
    try:
        return Head.model_validate(external_files.parse_json(raw, path))
    except pydantic.ValidationError as error:
        raise external_files.wrong_field(error, paths.display(path)) from None


def read_manifest(head_path: Path) -> Manifest:
    """The manifest of a head file and the CSV of the same name beside it. Raises UserError as `load_manifest`."""
    head_raw = _read(head_path)
    body_path = head_path.with_name(f"{_parse_head(head_raw, head_path).rows or head_path.stem}.csv")
    return _checked(head_path, head_raw, body_path, _read(body_path))


@lru_cache(maxsize=4)  # checking takes a third of a second for 20,000 rows
def _checked(head_path: Path, head_raw: bytes, body_path: Path, raw: bytes) -> Manifest:
    """The manifest of two files with these bytes. Raises UserError as `load_manifest`."""
    benchmark, head = head_path.stem, _parse_head(head_raw, head_path)
    if hashlib.sha256(raw).hexdigest() != head.sha256:
        raise UserError(
            f"{paths.display(body_path)} does not match the sha256 in {paths.display(head_path)}; restore both with "
            f"git, or rebuild them with `python -m analysis_lib manifest {benchmark}`"
        )
    body = _parse(raw, paths.display(body_path))
    if head.name != benchmark:
        raise UserError(
            f"{paths.display(head_path)} says its name is {head.name!r}; it must be {benchmark!r}, as the file's"
        )
    if head.class_ids is not None and len(head.class_ids) != len(head.class_names):
        raise UserError(
            f"{paths.display(head_path)}: {len(head.class_ids)} class_ids for {len(head.class_names)} class_names; "
            "give one each"
        )
    check_body(body, len(head.class_names), paths.display(body_path))
    digest = hashlib.sha256(head.model_dump_json().encode()).hexdigest()[:12]
    return Manifest(head, body.astype({"label": "int64"}), digest)


def _parse(raw: bytes, where: str) -> pd.DataFrame:
    """The table of a CSV file; only an empty cell is missing, and `NA` is a text like any other."""
    text = {name: str for name in [*COLUMNS, *OPTIONAL] if name != "label"}
    try:
        return pd.read_csv(io.BytesIO(raw), dtype=text, keep_default_na=False, na_values=[""])
    except ValueError as error:  # pandas' own errors are ValueErrors
        reason = str(error).splitlines()[0]
        raise UserError(f"{where} is no table of comma-separated values ({reason}); restore or rebuild it") from None


def _read(path: Path) -> bytes:
    try:
        return external_files.read_bytes(path)
    except OSError as error:
        raise UserError(
            f"cannot read {paths.display(path)} ({error.strerror or error}); a manifest is a .json and a .csv file; "
            "restore both"
        ) from None


def check_body(body: pd.DataFrame, num_classes: int, where: str) -> None:
    """Check the rules for a body. Raises UserError with the first three offending rows."""
    if list(body.columns) != COLUMNS + [name for name in OPTIONAL if name in body.columns]:
        raise UserError(
            f"{where}: columns are {', '.join(body.columns)[:120]}; expected {', '.join(COLUMNS)}, then "
            f"{' and '.join(OPTIONAL)} if there are any"
        )
    for side in ("train", "test"):
        if side not in set(body["split"]):
            raise UserError(f"{where}: there is no {side} row; a benchmark needs both")
    sides = body.groupby("group")["split"].transform("nunique")
    posix = body["path"].fillna("").map(PurePosixPath)
    texts = body.drop(columns=["label", "sha256"])
    rules = {
        "path, group or split is empty": body[["path", "group", "split"]].isna().any(axis=1),
        f"label is no whole number in 0..{num_classes - 1}": ~body["label"].isin(range(num_classes)),
        "split is neither train, test nor source": ~body["split"].isin(["train", "test", SOURCE]),
        "path is absolute or leaves the root": posix.map(lambda path: path.is_absolute() or ".." in path.parts),
        "a text holds a control character or is no UTF-8": texts.map(_unwritable).any(axis=1),
        "path appears twice": body["path"].duplicated(),
        "group lies on both sides of the split": sides > 1,
    }
    for rule, broken in rules.items():
        if broken.any():
            first = ", ".join(map(str, body.loc[broken, "path"].head(3)))
            raise UserError(f"{where}: {rule} in {int(broken.sum())} rows, first {first}; mend the rows or rebuild it")


def _unwritable(text: object) -> bool:
    return isinstance(text, str) and bool(UNPRINTABLE.search(text))


def save_manifest(head: dict, body: pd.DataFrame) -> None:
    """Check the body, then write head and body; the head gets the body's sha256. A shared body is that of `rows`.

    Raises UserError for a body as `check_body`, and for a head that is not as `Head` says.
    """
    check_body(body, len(head["class_names"]), head["name"])
    raw = body.to_csv(index=False, lineterminator="\n")
    try:
        checked = Head.model_validate(head | {"sha256": hashlib.sha256(raw.encode()).hexdigest()})
    except pydantic.ValidationError as error:
        raise external_files.wrong_field(error, head["name"]) from None
    files.write_text(paths.manifest_body(checked.rows or checked.name), raw)
    save_head(checked)


def save_head(head: Head) -> bool:
    """Write the head of a manifest whose body stays. Returns whether it changed: an equal file is left alone."""
    path, text = paths.manifest_head(head.name), json.dumps(head.model_dump(mode="json"), indent=1) + "\n"
    changed = not path.exists() or path.read_text() != text
    if changed:
        files.write_text(path, text)
    return changed
