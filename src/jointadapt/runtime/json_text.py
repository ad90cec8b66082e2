"""JSON as browsers and jq read it: a number that is none (NaN, infinity) is written as null, and read as NaN."""

import json
import math
from typing import Annotated, Any

from pydantic import BeforeValidator

Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""A number of a record; null stands for one that is none."""


def to_json(value: Any, indent: int | None = None, ascii_only: bool = False) -> str:
    """Return the JSON of a value made of dictionaries, lists, texts and numbers.

    >>> to_json({"score": float("nan"), "rows": (1, float("inf"))})
    '{"score": null, "rows": [1, null]}'
    """
    return json.dumps(_finite(value), indent=indent, ensure_ascii=ascii_only, allow_nan=False)


def _finite(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: _finite(part) for key, part in value.items()}
        case list() | tuple():
            return [_finite(part) for part in value]
        case _:
            return value
