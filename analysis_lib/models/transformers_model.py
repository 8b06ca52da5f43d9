"""Image classifiers of the library `transformers`, `transformers/<type>-<hash of its configuration>`.

The configuration is kept in the project folder beside imported weights, so that runs can make the network again.
"""

import hashlib
import json

import torch
from torch import nn

from ..core import files, paths
from ..core.errors import UserError
from .adapter import Adapter

PREFIX = "transformers/"
# what does not shape the network: the classes, and where and by what it was saved
PASSING = (
    "id2label",
    "label2id",
    "num_labels",
    "_name_or_path",
    "transformers_version",
    "dtype",
    "torch_dtype",
    "auto_map",
)


def library():
    """The library, quiet. Raises UserError if it is not installed."""
    try:
        import transformers
    except ImportError:
        raise UserError(
            "this is a network of the library transformers, which is not installed; run "
            "`pip install 'analysis_lib[transformers]'`"
        ) from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def model_name(config: dict) -> str:
    """The name of the architecture that a `config.json` describes."""
    digest = hashlib.sha256(_shaping(config).encode()).hexdigest()[:12]
    return f"{PREFIX}{config['model_type']}-{digest}"


def keep_config(config: dict) -> None:
    """Write the configuration into the project folder, where `create` finds it."""
    path = paths.imported_config(model_name(config).removeprefix(PREFIX))
    if not path.exists():
        files.write_text(path, _shaping(config))


def _shaping(config: dict) -> str:
    """The part of a configuration that shapes the network, as JSON."""
    kept = {name: value for name, value in config.items() if name not in PASSING and name != "analysis_lib"}
    return json.dumps(kept, indent=1, sort_keys=True) + "\n"


def create(name: str, num_classes: int) -> Adapter:
    """The classifier with timm's interface, randomly initialised. Raises UserError for an unknown name."""
    own = name.removeprefix(PREFIX)
    path = paths.imported_config(own)
    if "/" in own or not path.is_file():  # a manifest may name anything
        raise UserError(
            f"the project has no configuration of {name!r}; import the folder again with `python -m analysis_lib "
            "manifest network`"
        )
    transformers = library()
    config = json.loads(path.read_text())
    config = transformers.AutoConfig.for_model(**config, num_labels=num_classes)
    network = transformers.AutoModelForImageClassification.from_config(config, dtype=torch.get_default_dtype())
    size = getattr(config, "image_size", None)
    return adapted(network, {"input_size": (3, size, size)} if isinstance(size, int) else {})


def adapted(network: nn.Module, looks: dict) -> Adapter:
    """timm's interface around one of the library's classifiers. Raises UserError if its head is not one layer."""
    inside = set(getattr(network, network.base_model_prefix).modules())
    heads = [name for name, part in network.named_modules() if isinstance(part, nn.Linear) and part not in inside]
    if len(heads) != 1:
        raise UserError(
            f"{type(network).__name__} has {len(heads)} linear layers in its head; choose a network that ends in one"
        )
    return Adapter(network, heads[0], looks)
