"""The backbone inside other projects' models, in the shape that each of them asks for.

Nothing here loads those projects: :class:`PyramidBody` and :func:`register_smp_encoder` import theirs when called.
docs/reuse.md shows each in use.
"""

from mnv2dense.reuse.smp import SmpEncoder, register_smp_encoder
from mnv2dense.reuse.timm import FeatureList, FeatureTable
from mnv2dense.reuse.torchvision import PyramidBody, RenamedFeatures

__all__ = [
    "FeatureList",
    "FeatureTable",
    "PyramidBody",
    "RenamedFeatures",
    "SmpEncoder",
    "register_smp_encoder",
]
