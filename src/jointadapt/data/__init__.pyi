from .arrays import from_arrays
from .batches import Batches
from .domain import UNLABELLED, Domain, align
from .feature_cache import extract
from .images import Preprocessing
from .own_datasets import from_dataset
from .reading import read_domain
from .synthetic_bearings import synthetic_bearings

__all__ = [
    "UNLABELLED",
    "Batches",
    "Domain",
    "Preprocessing",
    "align",
    "extract",
    "from_arrays",
    "from_dataset",
    "read_domain",
    "synthetic_bearings",
]
