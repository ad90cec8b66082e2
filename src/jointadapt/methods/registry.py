"""A name → a method's class, which is loaded when it is used; names joined by + are their sum. It loads no torch."""

from typing import TYPE_CHECKING, Any

from jointadapt.runtime.registry import Registry

if TYPE_CHECKING:
    from jointadapt.methods.base import Method


def _is_method(thing: Any) -> bool:
    from jointadapt.methods.base import Method

    return isinstance(thing, type) and issubclass(thing, Method)


METHODS: "Registry[type[Method]]" = Registry(
    "method",
    {
        "source-only": "jointadapt.methods.source_only:SourceOnly",
        "ddc": "jointadapt.methods.ddc:DDC",
        "dan": "jointadapt.methods.dan:DAN",
        "dann": "jointadapt.methods.dann:DANN",
        "jan": "jointadapt.methods.jan:JAN",
        "jan-a": "jointadapt.methods.jan:JANA",
        "rtn": "jointadapt.methods.rtn:RTN",
        "ujmmd": "jointadapt.methods.unified:UnifiedJMMD",
        "lmmd": "jointadapt.methods.unified:LMMD",
        "coral": "jointadapt.methods.coral:CORAL",
        "cdan": "jointadapt.methods.cdan:CDAN",
        "cdan-e": "jointadapt.methods.cdan:CDANE",
        "mcd": "jointadapt.methods.mcd:MCD",
        "mdd": "jointadapt.methods.mdd:MDD",
        "nwd": "jointadapt.methods.nwd:NWD",
        "mcc": "jointadapt.methods.mcc:MCC",
        "bnm": "jointadapt.methods.bnm:BNM",
        "im": "jointadapt.methods.im:IM",
        "entropy": "jointadapt.methods.entropy:Entropy",
        "afn": "jointadapt.methods.afn:AFN",
        "fixmatch": "jointadapt.methods.fixmatch:FixMatch",
        "shot": "jointadapt.methods.shot:SHOT",
    },
    group="jointadapt.methods",
    fits=_is_method,
    expected="a subclass of jointadapt.methods.Method",
)
BASELINE = "source-only"  # the method that every other is compared with
AUTO = "auto"  # trains its candidates and the baseline, and combines them, or chooses, without target labels
CANDIDATES = ("mcc", "jan+mcc", "shot")


def parts_of(name: str) -> list[str]:
    """Return the names of the methods that a name sums up; of "auto" its candidates'."""
    if name == AUTO:
        return [*dict.fromkeys(part for candidate in CANDIDATES for part in candidate.split("+"))]
    parts = name.split("+")
    for part in parts:
        METHODS.check(part)
    return parts
