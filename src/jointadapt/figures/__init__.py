"""Numbers → figures: of the report (`page`), of analyses (`charts`), in one style that prints and needs no colour."""

from jointadapt.figures.page import (
    FEWEST_MAP_POINTS,
    FEWEST_SMOOTHED,
    MOST_NUMBERED_CLASSES,
    SMALL_PICTURE,
    class_colour,
    confusion_figure,
    curve,
    data_uri,
    embed,
    frequent_confusions,
    map_by_class,
    map_by_domain,
    null_figure,
    running_mean,
    weakest_classes,
)
from jointadapt.figures.style import house_style, inline, save

__all__ = [
    "FEWEST_MAP_POINTS",
    "FEWEST_SMOOTHED",
    "MOST_NUMBERED_CLASSES",
    "SMALL_PICTURE",
    "class_colour",
    "confusion_figure",
    "curve",
    "data_uri",
    "embed",
    "frequent_confusions",
    "house_style",
    "inline",
    "map_by_class",
    "map_by_domain",
    "null_figure",
    "running_mean",
    "save",
    "weakest_classes",
]
