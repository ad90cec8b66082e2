"""Every rule about labels: what is missing, what is one class in two spellings, and what is no class at all.

* A label is missing where it is None, NaN, blank or one of the texts of `MISSING`, in every format. −1 is a class, as
  in −1/+1 and −1/0/+1, but where a reader says otherwise (`unlabelled=-1` of `from_arrays`).
* Within a domain 0, 0.0 and "0" are one class, as are True and "true", and names that differ in blanks around them, in
  a byte order mark or in how an accent is encoded. Real numbers are a regression's, and refused.
* Two domains say "Dog" and "dog", "coffee_mug" and "coffee mug", or "01" and "1": one class, where each domain knows
  one of the two. Where a domain knows both, nobody but the user can tell: that is an error.
"""

import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from jointadapt.errors import UserError

UNLABELLED = -1
SURPLUS = -2  # of a class that the source lacks; only on its way from the reader to the evaluation
UNKNOWN = "unknown"  # what rows of such a class are called, where they are told
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NAN", "NULL", "null", "?")
INTEGER = re.compile(r"[+-]?(0|[1-9]\d*)(\.0*)?")  # "01" and "1e3" may be codes, and stay names
PADDED = re.compile(r"0*(\d+)(\.0*)?")
SEPARATORS = r"[\s_–-]+"  # between two digits they mean something: 1-2 is not 12
REAL = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")
TRUTHS = ("False", "True")
MOST_REAL = 20  # so many different real numbers, written as text, may be names of classes
MOST_CLASSES = 0.5  # of the rows; more numbers than that are told
TRUTHS_AS = ({"0": "False", "1": "True"}, {"False": "0", "True": "1"})

Key = str | int | float


class Labels(NamedTuple):
    """Labels (n,) as indices into the sorted names of the classes, `UNLABELLED` where missing; what to hear of them."""

    indices: Tensor
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


def encode_labels(y: Any, rows: int, name: str, unlabelled: Any = None) -> Labels:
    """Return the labels of so many rows: a sequence or array (n,) or (n, 1), one-hot rows (n, classes), or None.

    `name` is what people call the domain, `unlabelled` a further value that means "no label". Numbers come in their
    order, before names.

    >>> encode_labels(["dog", "cat ", None, "cat"], 4, "photos")[:2]
    (tensor([ 1,  0, -1,  0]), ('cat', 'dog'))
    >>> encode_labels([-1, 1.0, "1"], 3, "reviews").classes
    ('-1', '1')
    """
    if y is None:
        return Labels(torch.full((rows,), UNLABELLED), ())
    values = _column(y, rows, name)
    nothing = None if unlabelled is None else _key(unlabelled, name)
    keys = {spelling: _key(spelling[1], name) for spelling in {(type(value), value) for value in values}}
    keys = {spelling: None if key == nothing else key for spelling, key in keys.items()}
    keys = _truths_as_numbers(keys)
    known = sorted({key for key in keys.values() if key is not None}, key=lambda key: (isinstance(key, str), key))
    _refuse_regression(known, rows, name)
    index = {key: position for position, key in enumerate(known)}
    positions = {spelling: UNLABELLED if key is None else index[key] for spelling, key in keys.items()}
    indices = torch.tensor([positions[type(value), value] for value in values], dtype=torch.long)
    classes = tuple(map(str, known))
    missing = Counter(value.strip() for value in values if isinstance(value, str) and value.strip() in MISSING[1:])
    return Labels(indices, classes, tuple(_notes(classes, indices, missing, name)))


def no_label_of_list(labels: Sequence[Any], name: str) -> int | None:
    """Return −1 where the lines of an image list mean by it that an image has no label: beside indices of classes.

    Beside 1 alone −1 is a class; beside 0 and 1 alone nobody can tell, and that is a `UserError`.
    """
    others = {_key(label, name) for label in labels} - {None, UNLABELLED}
    if others == {0, 1} and any(_key(label, name) == UNLABELLED for label in labels):
        raise UserError(
            f"{name}: does the label −1 beside 0 and 1 mean a class, or none? Name three classes (negative, …); of an "
            "image without a label give the path alone."
        )
    return None if others == {1} else UNLABELLED


def _column(y: Any, rows: int, name: str) -> list[Any]:
    """Return one label a row, as Python's own values, whatever holds them."""
    refused = UserError(f"{name}: one label a row is needed, {rows} in all; got {_described(y)}.")
    if isinstance(y, str | bytes | Mapping) or not hasattr(y, "__len__") or getattr(y, "ndim", 1) == 0:
        raise refused
    values, names = _listed(y), getattr(y, "columns", None)
    if values and all(isinstance(value, list | tuple) for value in values):
        widths = {len(value) for value in values}
        if widths == {1}:
            values = [value[0] for value in values]
        elif len(values) == 1 and widths == {rows}:
            values = list(values[0])
        elif len(widths) == 1 and (hot := np.array(values)).dtype.kind in "bif" and _is_one_hot(hot):
            values = [position if names is None else names[position] for position in hot.argmax(1).tolist()]
    if len(values) != rows or any(isinstance(value, list | tuple | dict) for value in values):
        raise refused
    return values


def _listed(y: Any) -> list[Any]:
    """Return what is at the places of the first dimension: a list of values, or of lists."""
    if isinstance(y, Tensor):
        return y.tolist()
    if hasattr(y, "__array__") or hasattr(y, "__arrow_array__"):
        array = y if isinstance(y, np.ndarray) else np.asarray(y)
        if array.dtype.names and len(array.dtype.names) == 1:
            array = array[array.dtype.names[0]]
        return (array.astype(str) if array.dtype.kind in "mM" else array).tolist()  # a mask gives None
    values = [value.item() if isinstance(value, np.generic | Tensor) and value.ndim == 0 else value for value in y]
    return [value.tolist() if isinstance(value, np.ndarray | Tensor) else value for value in values]


def _described(y: Any) -> str:
    shape = getattr(y, "shape", None)
    if shape is not None:
        return f"labels of shape {tuple(shape)}"
    kinds = sorted({type(value).__name__ for value in y}) if isinstance(y, list | tuple) else []
    return f"{len(y)} labels, each a {' or '.join(kinds)}" if kinds else f"labels in a {type(y).__name__}"


def _is_one_hot(rows: np.ndarray) -> bool:
    return bool(np.isin(rows, (0, 1)).all() and (rows.sum(1) == 1).all())


def _key(label: Any, name: str) -> Key | None:
    """Return what is equal for labels that are certainly one class: a number or a text; None where it is missing."""
    if isinstance(label, bytes):
        label = label.decode(errors="surrogateescape")
    match label:
        case str() | bool():
            return _key_of_text(str(label))
        case Integral():
            return int(label)
        case Real() | Decimal():
            number = float(label)
            return None if math.isnan(number) else int(number) if number.is_integer() else number
        case complex():
            raise UserError(f"{name}: a label is a number or a name; got the complex {label}.")
    if label is None or type(label).__name__ in ("NAType", "NaTType") or label != label:
        return None
    return _key_of_text(str(label))


def _key_of_text(text: str) -> Key | None:
    text = unicodedata.normalize("NFC", text).strip().strip("\ufeff").strip()
    if text in MISSING:
        return None
    if INTEGER.fullmatch(text):
        return int(text.partition(".")[0])
    return text.capitalize() if text.capitalize() in TRUTHS else text


def _truths_as_numbers(keys: Mapping[Any, Key | None]) -> dict[Any, Key | None]:
    """Return the keys, truth values beside no other numbers than 0 and 1 as these."""
    found = set(keys.values()) - {None}
    if found <= {0, 1, *TRUTHS} and found & {0, 1} and found & set(TRUTHS):
        return {spelling: TRUTHS.index(key) if key in TRUTHS else key for spelling, key in keys.items()}
    return dict(keys)


def _refuse_regression(keys: Sequence[Key], rows: int, name: str) -> None:
    reals = [key for key in keys if isinstance(key, float)]
    texts = [key for key in keys if isinstance(key, str) and REAL.fullmatch(key)]
    if len(keys) > max(MOST_REAL, MOST_CLASSES * rows) and 2 * len(texts) > len(keys):
        reals = [float(text) for text in texts]
    if reals:
        some = ", ".join(f"{number:g}" for number in sorted(reals)[:3])
        raise UserError(
            f"{name}: the labels are real numbers ({some}, …), as a regression's, and classes are needed; bin them "
            "(numpy.digitize), or give the classes names."
        )


def _notes(classes: tuple[str, ...], indices: Tensor, missing: Mapping[str, int], name: str) -> Iterable[str]:
    if missing:
        texts = ", ".join(f"{text!r} ({count})" for text, count in missing.items())
        yield f"{name}: the labels {texts} mean that there is none; if one of them is a class, give it another name."
    if {"-1", "0"} <= set(classes):
        count = int((indices == classes.index("-1")).sum())
        yield (
            f"{name}: −1 is the label of {count} rows and is taken for a class; if it means that there is no label, "
            "leave it empty, or give from_arrays(…, unlabelled=-1)."
        )
    numbers = [name for name in classes if INTEGER.fullmatch(name)]
    if len(numbers) > max(MOST_REAL, MOST_CLASSES * len(indices)):
        yield f"{name}: {len(numbers)} classes in {len(indices)} rows; are the labels quantities, as a regression's?"


def simplified(name: str) -> str:
    """Return a name without what people write differently: letter case, accents' encoding, separators between words.

    >>> simplified("Real World") == simplified("real_world") == simplified("RealWorld") == simplified("real-world")
    True
    >>> simplified("C") == simplified("C++"), simplified("B") == simplified("B-")
    (False, False)
    """
    text = unicodedata.normalize("NFKC", name).casefold().strip("\ufeff_ \t\n")
    return re.sub(rf"(?<=[^\W\d_]){SEPARATORS}(?=\w)|(?<=\d){SEPARATORS}(?=[^\W\d_])", "", text)


def _fold(name: str) -> str:
    """Return what is equal for names that may be one class: also "01" and "1"."""
    padded = PADDED.fullmatch(name)
    return padded[1] if padded else simplified(name)


def in_two_spellings(classes: Iterable[str]) -> list[tuple[str, ...]]:
    """Return the groups of names that may be one class each; letters alone ("a", "A") are classes of their own.

    >>> in_two_spellings(["Dog", "cat", "dog", "a", "A"])
    [('Dog', 'dog')]
    """
    groups = defaultdict(list)
    for name in classes:
        groups[_fold(name)].append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1 and max(map(len, group)) > 1]


def check_spellings(classes: Sequence[str], others: Sequence[str], name: str) -> None:
    """Raise a `UserError` for two names that may be one class, but where the other domain tells the two apart too."""
    for group in in_two_spellings(classes):
        if not set(group) <= set(others):
            raise _asked(group, name)


def counted_otherwise(classes: Sequence[str], others: Sequence[str]) -> bool:
    """Return whether both are as many numbers in a row, from another one on.

    >>> counted_otherwise(["0", "1", "2"], ["1", "2", "3"]), counted_otherwise(["0", "2"], ["1", "2"])
    (True, False)
    """
    if not all(re.fullmatch(r"\d+", name) for name in (*classes, *others)):
        return False
    ours, theirs = sorted(map(int, classes)), sorted(map(int, others))
    alike = [number - numbers[0] for numbers in (ours, theirs) for number in numbers]
    return ours != theirs and alike == [*range(len(ours))] * 2


def translate_classes(found: Sequence[str], wanted: Sequence[str], name: str) -> dict[str, str]:
    """Return found → wanted for each class that is known by the same name, or certainly in another spelling.

    >>> translate_classes(["Dog", "coffee_mug", "owl", "01"], ["dog", "coffee mug", "1"], "photos")
    {'Dog': 'dog', 'coffee_mug': 'coffee mug', '01': '1'}
    >>> translate_classes(["0", "1"], ["False", "True"], "table")
    {'0': 'False', '1': 'True'}
    """
    for other in TRUTHS_AS:
        if set(found) <= set(other) and set(wanted) == set(other.values()):
            return {name: other[name] for name in found}
    known, like_wanted, like_found = set(wanted), defaultdict(list), defaultdict(list)
    for names, groups in (wanted, like_wanted), (dict.fromkeys(found), like_found):
        for spelling in names:
            groups[_fold(spelling)].append(spelling)
    same = {}
    for spelling in found:
        near, alike = like_wanted[_fold(spelling)], like_found[_fold(spelling)]
        if spelling in known:
            same[spelling] = spelling
        elif len(near) == len(alike) == 1:
            same[spelling] = near[0]
        elif near and in_two_spellings({*near, *alike}):
            raise _asked(dict.fromkeys([*alike, *near]), name)
    return same


def _asked(names: Iterable[str], name: str) -> UserError:
    return UserError(
        f"{name}: are {' and '.join(map(repr, names))} one class in two spellings, or two classes? Write one class in "
        "one way; give two classes names that differ in more than case, blanks, dashes or zeros in front."
    )
