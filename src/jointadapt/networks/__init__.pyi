from .backbone import Backbone
from .backbones import backbone_names, build_backbone
from .features import FeatureExtractor, PrecomputedFeatures
from .network import Activations, Head, Network
from .reversal import reverse

__all__ = [
    "Activations",
    "Backbone",
    "FeatureExtractor",
    "Head",
    "Network",
    "PrecomputedFeatures",
    "backbone_names",
    "build_backbone",
    "reverse",
]
