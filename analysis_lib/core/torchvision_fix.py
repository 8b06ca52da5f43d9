"""Make torchvision importable with a CPU-only torch.

PyPI's torchvision is a CUDA build. With a CPU-only torch its compiled operators cannot load, and registering their
meta kernels raises `operator torchvision::nms does not exist`, which also breaks `import timm`. This package does not
need those operators, so an empty module replaces the registration. `make setup` calls `install_at_startup`, which
applies the fix in every Python process of the environment, whatever it imports first.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import pathlib
import sys
import sysconfig

REGISTRATION = "torchvision._meta_registrations"
STARTUP = "analysis_lib_torchvision.pth"  # Python executes its line at every start, so it imports nothing heavy


class EmptyRegistration(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import hook that replaces the registration by an empty module if the operators cannot load."""

    def find_spec(self, name, path=None, target=None):
        """A spec of an empty module for the registration, else None, so that Python's own finders go on."""
        if name == REGISTRATION and is_cpu_torch() and not compiled_ops_load():
            return importlib.machinery.ModuleSpec(name, self)
        return None

    def exec_module(self, module):
        """Do nothing: the module stays empty."""


def is_cpu_torch() -> bool:
    """Whether torch is a CPU build."""
    import torch

    return torch.version.cuda is None


def compiled_ops_load() -> bool:
    """Whether torchvision's compiled operators can be loaded by this torch."""
    import torch

    folder = pathlib.Path(importlib.util.find_spec("torchvision").origin).parent
    library = next(folder.glob("_C.*"), None)
    if library is None:
        return False
    try:
        torch.ops.load_library(str(library))
    except OSError:
        return False
    return True


def install() -> None:
    """Install the import hook once. It looks at torch only when torchvision is imported."""
    if not any(isinstance(finder, EmptyRegistration) for finder in sys.meta_path):
        sys.meta_path.insert(0, EmptyRegistration())


def install_at_startup() -> pathlib.Path:
    """Make every Python process of this environment call `install` at its start; returns the `.pth` file."""
    path = pathlib.Path(sysconfig.get_path("purelib")) / STARTUP
    path.write_text(f"import {EmptyRegistration.__module__} as fix; fix.install()\n")
    return path
