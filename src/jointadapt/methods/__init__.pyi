from .base import Method, Needs
from .build import build_method
from .options import options_of
from .registry import METHODS

__all__ = ["METHODS", "Method", "Needs", "build_method", "options_of"]
