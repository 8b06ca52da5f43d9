"""Fine-tuned on some of a classifier's classes: what happened to the others, and how to get them back."""

import lazy_loader

from .core import threads, torchvision_fix

threads.sleep_soon()  # before anything imports torch
torchvision_fix.install()  # before anything imports torchvision or timm

# The public names stand in __init__.pyi; each module is imported when one of its names is first used.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
