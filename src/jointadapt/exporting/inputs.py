"""What an exported model is handed: described, and made of a domain as it was read."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from jointadapt.data import Domain
from jointadapt.data.table_rows import TableRows
from jointadapt.errors import UserError
from jointadapt.inputs.base import InputStep
from jointadapt.inputs.depth import Depth
from jointadapt.inputs.pictures import Pictures
from jointadapt.inputs.pixel_range import PixelRange
from jointadapt.inputs.signals import Signals
from jointadapt.inputs.table import TableColumns
from jointadapt.runs.model import Model

Steps = Mapping[type[InputStep], Any]
RANGES = {"unit": (0, 1), "bytes": (0, 255), "other": None}


def describe_input(model: Model) -> dict[str, Any]:
    """Return name, type, shape and range of what is handed in, in words too, and what has to be done before."""
    steps = _by_kind(model)
    if model.shape is None:
        return _images(model, steps.get(Depth))
    if (signals := steps.get(Signals)) is not None:
        return _signals(signals)
    if (table := steps.get(TableColumns)) is not None:
        return _table(table)
    if (pictures := steps.get(Pictures)) is not None:
        return _pixels(pictures, steps.get(PixelRange))
    words = "numbers as they came, in the order of the columns that it was trained on, in their own units"
    if not model.inputs.steps:
        words = "numbers as the training was handed them"
    return _about("rows", "float32", model.shape, None, words, [])


def rows_of(model: Model, domain: Domain) -> Tensor:
    """Return the rows of a domain, as it was read, as an export is handed them.

    That is all that a model does before the network but what stands in the graph.
    """
    if domain.ready:
        raise UserError(f"{domain.name} is ready for a network already; give it as it was read.")
    steps = _by_kind(model)
    if model.shape is None:
        domain = steps[Depth].target(domain) if Depth in steps else domain
        preprocessing = model.network.backbone.preprocessing
        if not domain.holds_images or preprocessing is None:
            raise UserError(f"this model reads image files, and {domain.name!r} holds none.")
        return domain.rows(range(len(domain)), preprocessing.framing())
    table = steps.get(TableColumns)
    if table is not None and Signals not in steps and isinstance(domain.content, TableRows):
        return torch.from_numpy(table.match(domain)[0]).float()
    for kind in (TableColumns, PixelRange, Pictures):
        domain = steps[kind].target(domain) if kind in steps else domain
    if Signals in steps:
        domain = steps[Signals].windows(domain)
    rows = domain.rows(range(len(domain)))
    wanted = tuple(describe_input(model)["shape"][1:])
    if rows.shape[1:] != wanted:
        raise UserError(f"this model reads rows of shape {wanted}, and {domain.name!r} holds {tuple(rows.shape[1:])}.")
    return rows.float()


def _by_kind(model: Model) -> Steps:
    return {type(step): step for step in model.inputs.steps}


def _about(
    name: str,
    dtype: str,
    shape: tuple[int, ...],
    span: tuple[int, int] | None,
    words: str,
    before: list[str],
    **more: Any,
) -> dict[str, Any]:
    about = {"name": name, "dtype": dtype, "shape": ["batch", *shape], "range": span, "words": words, "before": before}
    return about | more


def _images(model: Model, depth: Depth | None) -> dict[str, Any]:
    preprocessing = model.network.backbone.preprocessing
    assert preprocessing is not None
    resize, crop, how = preprocessing.resize, preprocessing.crop, preprocessing.interpolation
    before = [
        "decode the file to red, green, blue, turned as its EXIF data say",
        f"resize it so that the shorter side has {resize} pixels ({how}, antialiased), rounded to whole numbers",
        f"crop the middle, {crop} × {crop} pixels",
    ]
    deep = depth.of_target if depth is not None else None
    if deep is not None:
        before[0] += f"; numbers of more than 8 bits: {deep[0]:g} is 0, {deep[1]:g} is 255, what lies outside is held"
    picture = {"resize": resize, "crop": crop, "interpolation": how, "antialias": True, "black_and_white": deep}
    words = "pictures, channels first (red, green, blue), as whole numbers; scaling and normalisation are in the model"
    return _about("images", "uint8", (3, crop, crop), (0, 255), words, before, pictures=picture)


def _pixels(pictures: Pictures, span: PixelRange | None) -> dict[str, Any]:
    channels, height, width = pictures.shape
    found = RANGES[span.range] if span is not None else None
    before = [f"bring pictures of another size to {height} × {width} pixels (bilinear, antialiased)"]
    before += ["repeat the channel of grey pictures three times"] if channels == 3 else []
    before += ["divide whole numbers by what white is for them, as 255"] if found == (0, 1) else []
    words = "pictures, channels first, with values " + (f"from {found[0]} to {found[1]}" if found else "as they came")
    return _about("pixels", "float32", pictures.shape, found, words, before)


def _signals(signals: Signals) -> dict[str, Any]:
    channels, time = signals.shape
    before = [f"cut recordings into windows of {time} samples, {signals.stride} from start to start"]
    done = [
        *(["re-centring by the target's channels"] if signals.recentring else []),
        *(["z-scores by window"] if signals.zscore else []),
        *({"fft": ["the Fourier transform"], "log-spectrogram": ["spectrograms"]}.get(signals.representation, [])),
    ]
    inside = f"; in the model: {', '.join(done)}" if done else ""
    words = (
        f"windows of {time} samples in {channels} channel{'s' * (channels > 1)}, in the unit of the recording{inside}"
    )
    return _about(
        "signals", "float32", signals.shape, None, words, before if signals.stride else [], stride=signals.stride
    )


def _table(table: TableColumns) -> dict[str, Any]:
    """Return the columns in their order: numbers, then categories with the code of each text."""
    columns: list[dict[str, Any]] = [
        {"name": name, "kind": "number", "missing": "NaN" if table.fill else "refused"} for name in table.numbers
    ]
    for name, known in table.categories.items():
        codes = {text: code for code, text in enumerate((*known, "") if table.fill else known)}
        columns.append({"name": name, "kind": "category", "codes": codes, "otherwise": -1})
    words = (
        "the columns in the order of model.json: numbers in their own units" + ", NaN for a missing one" * table.fill
    )
    before = ["find the columns by their names"]
    if table.categories:
        words += "; texts as their codes"
        before.append("replace each text by its code, -1 if it has none")
    return _about("columns", "float32", (len(columns),), None, words, before, columns=columns)


def rows_each(model: Model, domain: Domain) -> int:
    """Return how many rows one of a domain becomes: of a recording that is cut, its windows; else 1."""
    signals = _by_kind(model).get(Signals)
    if signals is None or not signals.stride or not domain.shape:
        return 1
    return max(1, (domain.shape[-1] - signals.shape[1]) // signals.stride + 1)


def some_of(domain: Domain, rows: int) -> Domain:
    """Return some rows of a domain, spread over all of it; of signals whole recordings."""
    count = len(domain)
    kept = sorted({round(number * (count - 1) / max(1, rows - 1)) for number in range(rows)})
    return domain if count <= rows else replace(domain.select(kept))
