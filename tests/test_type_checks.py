"""The tests check every argument and result: shapes where a signature names them, types everywhere."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
import torch
import type_checks
from jaxtyping import Float
from torch import Tensor

from jointadapt.discrepancy import mmd_unbiased
from jointadapt.runtime.json_text import to_json


def lookup(function):
    from beartype import beartype

    return beartype(function)


checked = type_checks._checked(typechecker=lookup)


@checked
def rows(x: Float[Tensor, "n d"], y: Float[Tensor, "m d"]) -> Float[Tensor, "n m"]:
    return x @ y.T if len(y) > 1 else x


@checked
def named(size: Annotated[int, "rows"], way: Literal["up", "down"] = "up", more: "list[int] | None" = None) -> str:
    return str(more) if way == "up" else size  # pyright: ignore


@checked
@dataclass
class Pair:
    left: int
    right: Float[Tensor, "n n"] | None = None


def test_shapes_agree_among_arguments_and_result() -> None:
    assert rows(torch.ones(2, 3), torch.ones(4, 3)).shape == (2, 4)
    for x, y in (
        (torch.ones(2, 3), torch.ones(4, 2)),
        (torch.ones(2, 3), torch.ones(1, 3)),
        (torch.ones(2), torch.ones(2, 3)),
    ):
        with pytest.raises(TypeError):
            rows(x, y)


def test_types_are_checked_where_there_is_no_shape() -> None:
    assert named(2) == "None"
    for arguments in ((2.0,), (2, "left"), (2, "up", "no list"), (2, "down")):
        with pytest.raises(TypeError):
            named(*arguments)
    with pytest.raises(TypeError):
        Pair("left")  # pyright: ignore
    with pytest.raises(TypeError):
        Pair(1, torch.ones(2, 3))


def test_the_package_is_checked() -> None:
    with pytest.raises(TypeError, match="mmd_unbiased"):
        mmd_unbiased(torch.ones(3, 2), torch.ones(3, 4))
    with pytest.raises(TypeError, match="to_json"):
        to_json({}, indent="two")
