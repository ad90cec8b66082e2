"""Methods: one file each; `METHODS` is the only registry, and loads a method when it is used."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
