from .bias_correction import bias_corrected
from .clipping import clip
from .equalization import equalize
from .int8 import int8_layers, simulated_int8
from .linked_layers import Link, links
from .targets import TARGETS, Target

__all__ = [
    "TARGETS",
    "Link",
    "Target",
    "bias_corrected",
    "clip",
    "equalize",
    "int8_layers",
    "links",
    "simulated_int8",
]
