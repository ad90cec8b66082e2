"""Methods: one file each; `METHODS` is the only registry."""

from jointadapt.methods.afn import AFN
from jointadapt.methods.base import ESTIMATORS, Method
from jointadapt.methods.bnm import BNM
from jointadapt.methods.cdan import CDAN, CDANE
from jointadapt.methods.coral import CORAL
from jointadapt.methods.dan import DAN
from jointadapt.methods.dann import DANN
from jointadapt.methods.ddc import DDC
from jointadapt.methods.entropy import Entropy
from jointadapt.methods.fixmatch import FixMatch
from jointadapt.methods.im import IM
from jointadapt.methods.jan import JAN
from jointadapt.methods.jan_a import JANA
from jointadapt.methods.mcc import MCC
from jointadapt.methods.mcd import MCD
from jointadapt.methods.mdd import MDD
from jointadapt.methods.nwd import NWD
from jointadapt.methods.rtn import RTN
from jointadapt.methods.shot import SHOT
from jointadapt.methods.source_only import SourceOnly
from jointadapt.methods.unified import LMMD, UnifiedJMMD

METHODS: dict[str, type[Method]] = {
    "source-only": SourceOnly,
    "ddc": DDC,
    "dan": DAN,
    "dann": DANN,
    "jan": JAN,
    "jan-a": JANA,
    "rtn": RTN,
    "ujmmd": UnifiedJMMD,
    "lmmd": LMMD,
    "coral": CORAL,
    "cdan": CDAN,
    "cdan-e": CDANE,
    "mcd": MCD,
    "mdd": MDD,
    "nwd": NWD,
    "mcc": MCC,
    "bnm": BNM,
    "im": IM,
    "entropy": Entropy,
    "afn": AFN,
    "fixmatch": FixMatch,
    "shot": SHOT,
}

__all__ = ["ESTIMATORS", "METHODS", "Method"]
