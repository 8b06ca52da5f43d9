"""Folders of the library `transformers`: an image classifier as `save_pretrained` writes it."""

import json
import tempfile
from pathlib import Path

import pydantic

from ..core import external_files, paths
from ..core.errors import UserError
from .adapter import Adapter
from .transformers_model import adapted, library

PROCESSORS = ("preprocessor_config.json", "processor_config.json")
INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # PIL's numbers, which the files hold


class _Processor(pydantic.BaseModel):
    """What is read of a processor's file."""

    size: pydantic.PositiveInt | dict[str, pydantic.PositiveInt | None] | None = None
    crop_size: pydantic.PositiveInt | dict[str, pydantic.PositiveInt | None] | None = None
    crop_pct: float | None = None
    image_mean: tuple[float, float, float] | None = None
    image_std: tuple[float, float, float] | None = None
    resample: int | None = None


def load(folder: Path, config: dict) -> Adapter:
    """The classifier of a folder, in eval mode, with timm's interface. Nothing but tensors and JSON is read.

    Raises UserError without the library, without safetensors, and for weights that do not fit the configuration.
    """
    transformers = library()
    if not list(folder.glob("model*.safetensors")):
        raise UserError(
            f"{paths.display(folder)} has no model.safetensors, and pickled weights are not read from a folder; save "
            "it again with `model.save_pretrained(folder)`"
        )
    try:
        network, found = transformers.AutoModelForImageClassification.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except Exception as error:  # noqa: BLE001 (damaged weights and configurations make it raise anything)
        raise UserError(
            f"transformers cannot open {paths.display(folder)} as an image classifier "
            f"({(str(error) or type(error).__name__).strip().splitlines()[0]}); give a folder of "
            "AutoModelForImageClassification"
        ) from None
    _check_found(found, folder, config)
    return adapted(network.float(), _looks(folder, network.config)).eval()


def _check_found(found: dict, folder: Path, config: dict) -> None:
    """Raise UserError if tensors are missing, unexpected or of another shape; it names the first."""
    kinds = {
        "missing": sorted(found["missing_keys"]),
        "unexpected": sorted(found["unexpected_keys"]),
        "of another shape": sorted(name for name, *_ in found["mismatched_keys"]),
    }
    differing = [f"{len(names)} tensors {kind}, first {names[0]!r}" for kind, names in kinds.items() if names]
    if differing:
        raise UserError(
            f"the weights in {paths.display(folder)} do not fit its config.json ({config['model_type']}): "
            f"{'; '.join(differing)}; give both files of one network"
        )


def _looks(folder: Path, config) -> dict:
    """Size, scaling and interpolation as the processor's file says, under timm's names. Raises UserError."""
    path = folder / PROCESSORS[0]
    said = external_files.read_json(path) if path.is_file() else {}
    try:
        _Processor.model_validate(said)
    except pydantic.ValidationError as error:
        raise external_files.wrong_field(error, paths.display(path)) from None
    own = getattr(config, "image_size", None) or 224
    stated = said.get("size") or (own if isinstance(own, int) else own[0])
    resized = stated if isinstance(stated, int) else stated.get("height") or stated.get("shortest_edge")
    side = resized
    if said.get("do_center_crop"):
        crop = said.get("crop_size") or resized
        side = crop if isinstance(crop, int) else crop.get("height") or crop.get("shortest_edge")
    if not side or not resized:
        raise UserError(f"{paths.display(path)} states no height and no shortest edge in its sizes; add one")
    share = side / resized
    if "crop_pct" in said and side == resized and side < 384:  # ConvNeXT's processor crops so below 384 pixels
        share = said["crop_pct"] or 1.0
    squash = isinstance(stated, dict) and "height" in stated and not said.get("do_center_crop")
    scaled = said.get("do_normalize", True)
    return {
        "input_size": (3, side, side),
        "mean": tuple(said.get("image_mean") or (0.5,) * 3) if scaled else (0.0,) * 3,
        "std": tuple(said.get("image_std") or (0.5,) * 3) if scaled else (1.0,) * 3,
        "crop_pct": min(share, 1.0),
        "interpolation": INTERPOLATIONS.get(said.get("resample"), "bilinear"),
    } | ({"crop_mode": "squash"} if squash else {})


def labels(config: dict) -> list[str] | None:
    """The class names in head order, or None where the library made them up (`LABEL_0`)."""
    named = config.get("id2label")
    if not named:
        return None
    names = [named[key] for key in sorted(named, key=int)]
    return None if all(name == f"LABEL_{k}" for k, name in enumerate(names)) else names


def contents(folder: Path, model: Adapter, config: dict) -> dict[str, bytes]:
    """The files of a folder with this model's weights: its processor's files as they are, and `config` as its
    config.json."""
    with tempfile.TemporaryDirectory() as scratch:
        model.cpu().whole().save_pretrained(scratch, max_shard_size="1000GB")
        weights = (Path(scratch) / "model.safetensors").read_bytes()
    written = {"model.safetensors": weights, "config.json": (json.dumps(config, indent=2) + "\n").encode()}
    return written | {name: (folder / name).read_bytes() for name in PROCESSORS if (folder / name).is_file()}
