"""Numbers → figures of the report, as inline SVG: learning curves, t-SNE maps, confusion matrix, pictures."""

import base64
import io
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageOps
from sklearn.manifold import TSNE

from jointadapt.reporting.style import CLASS_COLOURS, GREY, INK, METHOD, SOURCE, TARGET, house_style, inline
from jointadapt.runtime.threads import one_thread

MOST_CURVE_POINTS = 300
FEWEST_SMOOTHED = 40
MOST_NUMBERED_CLASSES = 40
FEWEST_MAP_POINTS = 4
MAP_ITERATIONS = 500
MOST_TABLE_CLASSES = 20
PICTURE_SIZE = 128
SMALL_PICTURE = 48


def curve(
    run: tuple[Sequence[float], Sequence[float]],
    baseline: tuple[Sequence[float], Sequence[float]] | None,
    *,
    smooth: bool,
    name: str,
    alt: str,
) -> Markup:
    """Return one learning curve (steps, values), the source-only run's in grey behind it."""
    with house_style(name):
        figure = Figure(figsize=(3.3, 2.35), layout="constrained")
        axes = figure.add_subplot()
        if baseline is not None:
            _line(axes, *baseline, colour=GREY, smooth=smooth, dashes="--")
        _line(axes, *run, colour=METHOD, smooth=smooth, dashes="-")
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.margins(x=0.02, y=0.08)
        return inline(figure, alt)


def _line(
    axes: Axes, steps: Sequence[float], values: Sequence[float], *, colour: str, smooth: bool, dashes: str
) -> None:
    x, y = np.asarray(steps, float), np.asarray(values, float)
    y = np.where(np.isfinite(y), y, np.nan)
    window = len(y) // 20 if smooth and len(y) >= FEWEST_SMOOTHED else 1
    few = slice(None, None, -(-len(y) // MOST_CURVE_POINTS))
    if window > 1:
        axes.plot(x[few], y[few], color=colour, alpha=0.25, linewidth=0.8)
    marker = "o" if len(y) == 1 else ""
    line = running_mean(y, window)
    axes.plot(x[few], line[few], color=colour, linewidth=1.7, linestyle=dashes, marker=marker, markersize=4)


def running_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Return the centred mean over so many values, fewer at both ends; NaN counts as absent.

    >>> running_mean(np.array([0.0, 3.0, np.nan, 3.0]), 3)
    array([1.5, 1.5, 3. , 3. ])
    """
    known = np.isfinite(values)
    box = np.ones(min(2 * (window // 2) + 1, 2 * len(values) - 1))
    total = np.convolve(np.where(known, values, 0.0), box, "full")
    count = np.convolve(known.astype(float), box, "full")
    inside = slice(len(box) // 2, len(box) // 2 + len(values))
    return np.divide(total[inside], count[inside], out=np.full(len(values), np.nan), where=count[inside] > 0)


def tsne(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Return both domains in the plane by one t-SNE fit, the same on every call; None where there is nothing to fit."""
    rows = np.concatenate([source, target]).astype(np.float64)
    if len(rows) < FEWEST_MAP_POINTS or not rows.size or not np.isfinite(rows).all() or rows.std(axis=0).max() == 0:
        return None
    rows = (rows - rows.mean(axis=0)) / rows.std()
    rows = np.pad(rows, ((0, 0), (0, max(0, 2 - rows.shape[1]))))
    perplexity = min(30.0, (len(rows) - 1) / 3)
    with one_thread():  # sums in one order: the same page on every call
        plane = TSNE(perplexity=perplexity, init="pca", random_state=0, max_iter=MAP_ITERATIONS).fit_transform(
            rows.astype(np.float32)
        )
    return plane[: len(source)], plane[len(source) :]


def map_by_domain(source: np.ndarray, target: np.ndarray, *, name: str, alt: str) -> Markup:
    """Return the t-SNE map with open circles for source examples and filled triangles for target examples."""
    with house_style(name):
        figure, axes = _empty_map()
        axes.scatter(*source.T, s=15, marker="o", facecolors="none", edgecolors=SOURCE, linewidths=0.9, alpha=0.85)
        axes.scatter(*target.T, s=15, marker="^", color=TARGET, linewidths=0, alpha=0.75)
        return inline(figure, alt)


def map_by_class(
    source: np.ndarray,
    target: np.ndarray,
    source_classes: np.ndarray,
    target_classes: np.ndarray,
    *,
    name: str,
    alt: str,
) -> Markup:
    """Return the same map coloured by class, the number of each class (from 1) at the median of its source rows."""
    with house_style(name):
        figure, axes = _empty_map()
        edges, fills = ([class_colour(c) for c in classes.tolist()] for classes in (source_classes, target_classes))
        axes.scatter(*source.T, s=15, marker="o", facecolors="none", edgecolors=edges, linewidths=0.9, alpha=0.85)
        axes.scatter(*target.T, s=15, marker="^", c=fills, linewidths=0, alpha=0.8)
        present = np.unique(source_classes).tolist()
        for c in present if len(present) <= MOST_NUMBERED_CLASSES else []:
            box = {"boxstyle": "round,pad=0.18", "facecolor": "white", "edgecolor": class_colour(c), "linewidth": 1.0}
            x, y = np.median(source[source_classes == c], axis=0)
            axes.text(x, y, str(c + 1), fontsize=7, ha="center", va="center", color=INK, bbox=box, zorder=10)
        return inline(figure, alt)


def class_colour(c: int) -> str:
    """Return the colour of class c on the map."""
    return CLASS_COLOURS[c % len(CLASS_COLOURS)]


def _empty_map() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(3.3, 3.0))
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_rasterization_zorder(5)
    return figure, axes


def confusion_figure(confusion: np.ndarray, names: Sequence[str], *, counts: bool) -> dict[str, Any]:
    """Return the geometry of a confusion matrix (rows true, columns predicted) for the template to draw."""
    n = len(confusion)
    cell = 34.0 if n <= 12 else 24.0 if n <= 20 else 17.0 if n <= 40 else 640 / n
    font = min(12.0, max(cell * 0.62, 7.0)) if n <= 40 else cell * 0.9
    labels = [shorten(name, 16) for name in names]
    margin = 24 + max(map(text_width, labels)) * font * 0.6
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    return {
        "size": round(margin + n * cell + 1, 1),
        "wide": round((margin + n * cell) / 14, 1),
        "start": round(margin, 1),
        "side": round(n * cell, 1),
        "cell": round(cell, 1),
        "font": round(font, 1),
        "count_font": round(min(11.0, cell * 0.45), 1),
        "labels": [(label, round(margin + (i + 0.5) * cell, 1)) for i, label in enumerate(labels)],
        "cells": [
            {
                "x": round(margin + j * cell, 1),
                "y": round(margin + i * cell, 1),
                "right": i == j,
                "share": round(0.08 + 0.92 * float(shares[i, j]), 3),
                "strong": bool(shares[i, j] > 0.5),
                "count": int(confusion[i, j]) if counts else None,
                "words": f"{names[i]} → {names[j]}: {int(confusion[i, j])}",
            }
            for i, j in np.argwhere(confusion > 0).tolist()
        ],
    }


def weakest_classes(counts: np.ndarray, before: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the classes of lowest target accuracy first, with their accuracy before and after."""

    def accuracy(of: np.ndarray, c: int) -> float | None:
        return 100 * float(of[c, c] / of[c].sum()) if of[c].sum() else None

    seen = [c for c in range(len(names)) if counts[c].sum()]
    worst = sorted(seen, key=lambda c: (accuracy(counts, c) or 0.0, c))[:MOST_TABLE_CLASSES]
    return [
        {"name": names[c], "rows": int(counts[c].sum()), "before": accuracy(before, c), "after": accuracy(counts, c)}
        for c in worst
    ]


def frequent_confusions(counts: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the five pairs of classes that are mistaken most often."""
    wrong = counts * (1 - np.eye(len(counts), dtype=counts.dtype))
    pairs = sorted(np.argwhere(wrong > 0).tolist(), key=lambda pair: -wrong[pair[0], pair[1]])
    return [{"true": names[i], "predicted": names[j], "count": int(wrong[i, j])} for i, j in pairs[:5]]


def shorten(name: str, width: int) -> str:
    """Return the name, or its beginning and an ellipsis where it is wider than so many letters.

    >>> shorten("screwdriver", 8)
    'screwdr…'
    """
    if text_width(name) <= width:
        return name
    kept = ""
    for letter in name:
        if text_width(kept + letter) > width - 1:
            break
        kept += letter
    return kept + "…"


def text_width(text: str) -> int:
    """Return the width of a text in letters; letters of Chinese, Japanese, Korean and emoji count twice."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def data_uri(image: Image.Image) -> Markup:
    """Return a small copy of the picture as a data URI: PNG for tiny ones, JPEG for the rest; no metadata."""
    image = ImageOps.exif_transpose(image)
    if image.mode == "F" or image.mode.startswith("I"):
        values = np.asarray(image, float)
        span = float(np.ptp(values)) or 1.0
        image = Image.fromarray(((values - values.min()) * (255 / span)).astype(np.uint8))
    image = image.convert("RGBA")
    small = Image.new("RGB", image.size, "white")
    small.paste(image, mask=image.getchannel("A"))
    small.thumbnail((PICTURE_SIZE, PICTURE_SIZE))
    kind = "png" if max(small.size) < SMALL_PICTURE else "jpeg"
    buffer = io.BytesIO()
    small.save(buffer, kind, quality=80)
    return Markup(f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}")
