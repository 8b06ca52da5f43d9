"""Let torchvision import beside a CPU-only torch.

PyPI's torchvision is a CUDA build. Beside a CPU-only torch its compiled operators cannot load, and
registering their meta kernels raises `operator torchvision::nms does not exist`, which also breaks
`import timm`. Nothing here needs those operators, so an empty module takes the registration's place.
"""

import importlib.metadata
import importlib.util
import pathlib
import sys
import types

import torch

STUB = "torchvision._meta_registrations"


def compiled_ops_load() -> bool:
    """Whether torchvision's compiled operators can be loaded by this torch."""
    folder = pathlib.Path(importlib.util.find_spec("torchvision").origin).parent
    library = next(folder.glob("_C.*"), None)
    if library is None:
        return False
    try:
        torch.ops.load_library(str(library))
    except OSError:
        return False
    return True


def enable_torchvision() -> bool:
    """Install the stand-in where it is needed; return whether it was.

    Needed only when torch is a CPU build, torchvision is not yet imported and its operators cannot load.
    """
    if torch.version.cuda is not None or "torchvision" in sys.modules or compiled_ops_load():
        return False
    sys.modules[STUB] = types.ModuleType(STUB)
    return True
