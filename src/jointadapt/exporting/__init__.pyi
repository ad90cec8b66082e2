from .export import Check, Export

__all__ = ["Check", "Export"]
