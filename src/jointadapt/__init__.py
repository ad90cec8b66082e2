"""Joint adaptation networks: labelled source + unlabelled target data → a classifier that works on the target."""

__version__ = "0.1.0"
