"""A name, or a module of one's own → a backbone; backbone and head → a network whose layers can be seen."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
