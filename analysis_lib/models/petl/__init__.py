"""Parameter-efficient fine-tuning (PETL): techniques by name. A new one is a `Technique`, and a line here.

Each file has one idea: what it inserts, and the techniques that insert it. Imports core and models only.
"""

from .adapters import AdaptFormer, Houlsby, Pfeiffer, PfeifferRandom
from .convpass import ConvPass
from .fact import FacTTK, FacTTT
from .gains import SSF, DiffFit
from .lora import LoRA
from .own_weights import BiasesAndHead, Normalisation, Selected
from .prompts import VPTDeep, VPTShallow
from .repadapter import RepAdapter
from .technique import Technique
from .vqt import VQT

TECHNIQUES: dict[str, type[Technique]] = {
    "bitfit_head": BiasesAndHead,
    "normalisation": Normalisation,
    "difffit": DiffFit,
    "selected": Selected,
    "lora": LoRA,
    "houlsby": Houlsby,
    "pfeiffer": Pfeiffer,
    "pfeiffer_random": PfeifferRandom,
    "adaptformer": AdaptFormer,
    "repadapter": RepAdapter,
    "convpass": ConvPass,
    "ssf": SSF,
    "vpt_shallow": VPTShallow,
    "vpt_deep": VPTDeep,
    "fact_tt": FacTTT,
    "fact_tk": FacTTK,
    "vqt": VQT,
}
