"""Folders, image lists and arrays → batches `(x_s, y_s, x_t)`."""

from jointadapt.data.batches import Batches
from jointadapt.data.domain import UNLABELLED, Domain, align
from jointadapt.data.features import extract
from jointadapt.data.images import Preprocessing
from jointadapt.data.reading import from_arrays, read_domain

__all__ = ["UNLABELLED", "Batches", "Domain", "Preprocessing", "align", "extract", "from_arrays", "read_domain"]
