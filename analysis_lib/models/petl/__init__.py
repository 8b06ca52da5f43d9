"""Parameter-efficient fine-tuning (PETL): techniques by name. A new one is a file with a `Technique`, and a line here.

Imports core and models only.
"""

from .lora import LoRA
from .technique import Technique
from .vqt import VQT

TECHNIQUES: dict[str, type[Technique]] = {"lora": LoRA, "vqt": VQT}
