from .base import Method, Needs
from .registry import METHODS, build_method, options_of

__all__ = ["METHODS", "Method", "Needs", "build_method", "options_of"]
