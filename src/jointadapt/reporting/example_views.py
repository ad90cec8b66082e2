"""Examples of a domain → what a person can judge them by: a picture, the trace of a signal, or a table of values."""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from markupsafe import Markup
from PIL import Image
from torch import Tensor

from jointadapt.data import Domain
from jointadapt.data.domain import some_rows
from jointadapt.data.domain import thumbnail as picture_of
from jointadapt.data.table_rows import TableRows, as_float64, is_number
from jointadapt.errors import UserError
from jointadapt.reporting.html import page_template, plain

SIDES = (512, 384, 256, 160)  # pixels of a picture's longer side, the first that keeps all of them within the limit
MOST_PICTURE_BYTES = 9_000_000  # of all pictures together; as base64 they are a third larger
COARSE = 48  # pictures of so few pixels are kept as they are, and drawn with square pixels
QUALITY = 78
MOST_CHANNELS = 8
MOST_POINTS = 1200  # of all channels of a signal together
WIDTH, HEIGHT, LEAST_LANE, GAP = 640, 260, 80, 14  # of a signal's plot: a lane is a channel
MOST_VALUES = 40
COMPARED_ROWS = 2000


class Value(NamedTuple):
    """A value of a row: its column, the value as text, and the percentage of rows with a lower one; None of texts."""

    column: str
    text: str
    lower: float | None


def views(domain: Domain, rows: Sequence[int]) -> list[Markup]:
    """Return for each of these rows an element that shows it: <img>, <svg> or <table>.

    Raises a `UserError` for a picture that cannot be read any more.
    """
    match domain.kind:
        case "signal":
            return [signal_plot(domain.rows([row])[0]) for row in rows]
        case "images" | "pixels":
            return _pictures(domain, rows)
        case _:
            return _tables(domain, rows)


def _pictures(domain: Domain, rows: Sequence[int]) -> list[Markup]:
    """Return the pictures as data URIs, as large as lets all of them stay within the limit."""
    for side in SIDES:
        found, size = [], 0
        for row in rows:
            found.append(_encoded(_picture(domain, row), side))
            size += len(found[-1][0])
            if size > MOST_PICTURE_BYTES and side != SIDES[-1]:
                break
        else:
            return [
                _as_image(*picture, alt=plain(f"The example {_name(domain.items[row])}."))
                for picture, row in zip(found, rows, strict=True)
            ]
    raise AssertionError("the smallest size has no limit")


def _picture(domain: Domain, row: int) -> Image.Image:
    try:
        image = picture_of(domain, row)
    except OSError as error:
        raise UserError(
            f"{domain.items[row]} of {domain.name} cannot be read any more ({error.strerror or error}); put the file "
            "back, or name by --target where the run's target lies now."
        ) from error
    if image is None:  # of other channels than grey or colour: the first is shown
        pixels = domain.rows([row])[0]
        pixels = pixels.reshape(-1, *pixels.shape[-2:])[0]
        pixels = 255 * (pixels - pixels.min()) / (pixels.max() - pixels.min()).clamp_min(1e-6)
        return Image.fromarray(pixels.round().byte().numpy())
    return image


def _encoded(image: Image.Image, side: int) -> tuple[bytes, str, tuple[int, int]]:
    """Return a picture's bytes, their kind and its size: PNG of tiny ones, which lose no pixel, WebP of the others."""
    image = image.convert("RGB")
    coarse = max(image.size) <= COARSE
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "png" if coarse else "webp", quality=QUALITY)
    return buffer.getvalue(), "png" if coarse else "webp", image.size


def _as_image(data: bytes, kind: str, size: tuple[int, int], alt: str) -> Markup:
    coarse = Markup(' class="coarse"') if kind == "png" else ""
    uri = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return Markup('<img{} src="{}" width="{}" height="{}" alt="{}" decoding="async">').format(coarse, uri, *size, alt)


def signal_plot(signal: Float[Tensor, "channels time"] | Float[Tensor, " time"]) -> Markup:
    """Return the plot of a signal as <svg>: a lane for each of its first channels, each to its own scale.

    Long signals are drawn by the least and the greatest value of each stretch, so that no peak is lost.
    """
    lanes = signal.reshape(-1, signal.shape[-1]).double()
    channels, time = lanes.shape
    shown = lanes[:MOST_CHANNELS]
    tall = max(HEIGHT // len(shown), LEAST_LANE)
    paths = [_path(lane, MOST_POINTS // len(shown), tall) for lane in shown]
    more = f", the first {len(shown)} of {channels} shown" if channels > len(shown) else ""
    words = f"{channels} {'channel' if channels == 1 else 'channels'}{more}"
    alt = f"A signal of {time:,} samples in {words}, from {_short(lanes.min())} to {_short(lanes.max())}."
    lines = [
        (number * (tall + GAP), path, _short(lane.max()), _short(lane.min()))
        for number, (path, lane) in enumerate(zip(paths, shown, strict=True))
    ]
    height = len(shown) * (tall + GAP) + 18
    return Markup(
        page_template("signal.svg.j2").render(
            alt=alt, lines=lines, width=WIDTH, lane=tall, height=height, last=f"{time:,}", more=more.lstrip(", ")
        )
    )


def _path(lane: Tensor, most: int, tall: int) -> str:
    """Return the points of a lane, so tall, as an SVG path, at most so many of them."""
    time = len(lane)
    at = torch.arange(time, dtype=torch.float64)
    if time > most:
        stretches = torch.tensor_split(torch.arange(time), most // 2)
        ends = [sorted((int(part[lane[part].argmin()]), int(part[lane[part].argmax()]))) for part in stretches]
        at = torch.tensor(ends).flatten().double()
    values = lane[at.long()]
    low, high = lane.min(), lane.max()
    up = (values - (low + high) / 2) / (high - low).clamp_min(1e-12)  # in [−½, ½]
    x, y = at * (WIDTH / max(time - 1, 1)), tall * (0.5 - 0.94 * up)
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def _tables(domain: Domain, rows: Sequence[int]) -> list[Markup]:
    """Return the values of each row as a table; of many columns those that are most unusual among all rows."""
    template = page_template("values.html.j2")
    tables = []
    for values, columns in _values(domain, rows):
        more = columns - len(values)
        tables.append(
            Markup(template.render(values=values, more=more, compared=any(v.lower is not None for v in values)))
        )
    return tables


def _values(domain: Domain, rows: Sequence[int]) -> Iterable[tuple[list[Value], int]]:
    """Yield the values of each row that are shown, and how many columns there are."""
    sample = sorted({*some_rows(len(domain), COMPARED_ROWS).tolist(), *rows})
    place = [sample.index(row) for row in rows]
    if isinstance(domain.content, TableRows):
        part = domain.content.select(sample)
        names = part.names
        columns = [(as_float64(c) if is_number(c.type) else None, c.to_pylist()) for c in part.table.columns]
    else:
        numbers = domain.rows(sample).flatten(1).double().numpy()
        names = domain.columns or tuple(f"column {number}" for number in range(numbers.shape[1]))
        columns = [(own, None) for own in numbers.T]
    lower = [None if own is None else _lower(own, place) for own, _ in columns]
    for index, row in enumerate(place):
        found = []
        for name, (own, raw), percentages in zip(names, columns, lower, strict=True):
            value = own[row] if raw is None and own is not None else raw[row] if raw is not None else None
            found.append(Value(name, _text(value), None if percentages is None else percentages[index]))
        unusual = sorted(
            range(len(found)), key=lambda i: -abs((50.0 if found[i].lower is None else found[i].lower) - 50)
        )
        kept = sorted(unusual[:MOST_VALUES]) if len(found) > MOST_VALUES else range(len(found))
        yield [found[i] for i in kept], len(found)


def _lower(values: np.ndarray, rows: Sequence[int]) -> list[float | None]:
    """Return for some rows the percentage of values that are lower, equal ones counted half; None of no number.

    >>> _lower(np.array([1.0, 2.0, 2.0, 4.0]), [1, 3])
    [50.0, 87.5]
    """
    known = np.sort(values[np.isfinite(values)])

    def percentage(value: float) -> float | None:
        if not math.isfinite(value):
            return None
        return float(50 * (np.searchsorted(known, value) + np.searchsorted(known, value, "right")) / len(known))

    return [percentage(float(values[row])) for row in rows]


def _text(value: Any) -> str:
    """Return a value as a person reads it; a dash where it is missing.

    >>> _text(1234567.0), _text(0.12345), _text(3), _text(None), _text(True)
    ('1.23457e+06', '0.12345', '3', '–', 'yes')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    return f"{value:.6g}".replace("-", "−") if isinstance(value, float) else str(value)


def _short(value: Tensor) -> str:
    return f"{value.item():.3g}".replace("-", "−")


def _name(item: str) -> str:
    return item.replace("\\", "/").rsplit("/", 1)[-1]
