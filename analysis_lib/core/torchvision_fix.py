"""Let torchvision import beside a CPU-only torch.

PyPI's torchvision is a CUDA build. Beside a CPU-only torch its compiled operators cannot load, and registering their meta
kernels raises `operator torchvision::nms does not exist`, which also breaks `import timm`. Nothing here needs those
operators, so an empty module takes the registration's place. `make setup` calls `install_at_startup`, which makes that so
for every Python of the environment, whatever it imports first.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import pathlib
import sys
import sysconfig

REGISTRATION = "torchvision._meta_registrations"
STARTUP = "analysis_lib_torchvision.pth"  # Python runs its line at every start; nothing heavy is imported there


class EmptyRegistration(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the registration first, and answers with an empty module where the operators cannot load."""

    def find_spec(self, name, path=None, target=None):
        """A spec of an empty module, or None, which leaves the module to Python's own finders."""
        if name == REGISTRATION and is_cpu_torch() and not compiled_ops_load():
            return importlib.machinery.ModuleSpec(name, self)
        return None

    def exec_module(self, module):
        """An empty module has nothing to execute."""


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
    """Put the finder in place, once; it looks at torch only when torchvision is imported."""
    if not any(isinstance(finder, EmptyRegistration) for finder in sys.meta_path):
        sys.meta_path.insert(0, EmptyRegistration())


def install_at_startup() -> pathlib.Path:
    """Have every Python of this environment call `install` when it starts; returns the file that says so."""
    path = pathlib.Path(sysconfig.get_path("purelib")) / STARTUP
    path.write_text(f"import {EmptyRegistration.__module__} as fix; fix.install()\n")
    return path
