"""What follows from a method's name: its title in sentences, how it is trained. It loads no torch."""

import re

from jointadapt.methods.registry import AUTO, BASELINE, METHODS, parts_of


def method_title(name: str) -> str:
    """Return a method's name as sentences and headings have it: in the letter case of its class, which is its paper's.

    Tables, files and flags have the name itself, which differs in letter case only. A name that is no method's, or not
    spelt as its class, stays as it is. An import path is shown as the name of the class.

    >>> method_title("fixmatch"), method_title("jan-a+mcc"), method_title("auto: im"), method_title("source-only")
    ('FixMatch', 'JAN-A+MCC', 'auto: IM', 'source-only')
    >>> method_title("my_package.methods:MeanMatching+mcc")
    'MeanMatching+MCC'
    """
    return re.sub(r"(?:[\w.]+:[\w.<>]*?)?([\w-]+)(?![\w.<>-])", lambda found: _title(found[1]), name)


def _title(name: str) -> str:
    letters = (METHODS.row(name) or "").rpartition(":")[2]
    if name == BASELINE or letters.lower() != name.replace("-", ""):
        return name
    cased = iter(letters)
    return "".join(next(cased) if letter != "-" else letter for letter in name)


def is_source_free(name: str) -> bool:
    """Return whether a method looks at no source row, and so starts from the source-only model.

    >>> is_source_free("shot"), is_source_free("shot+jan")
    (True, False)
    """
    return name != AUTO and not any(METHODS[part].needs.source for part in parts_of(name))


def takes_runs(name: str) -> bool:
    """Return whether runs of a method may be trained as one, with others that do: as its class declares it.

    >>> takes_runs("jan+mcc"), takes_runs("dann")
    (True, False)
    """
    return name != AUTO and all(vars(METHODS[part]).get("stacks_by") is not None for part in parts_of(name))
