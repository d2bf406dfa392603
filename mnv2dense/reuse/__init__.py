"""The backbone inside other projects' models, in the shape that each of them asks for.

Nothing here loads those projects: :class:`PyramidBody` and :func:`register_smp_encoder` import theirs when called.
docs/reuse.md shows each in use.
"""

from mnv2dense.reuse.smp import SmpEncoder as SmpEncoder
from mnv2dense.reuse.smp import register_smp_encoder as register_smp_encoder
from mnv2dense.reuse.timm import FeatureList as FeatureList
from mnv2dense.reuse.timm import FeatureTable as FeatureTable
from mnv2dense.reuse.torchvision import PyramidBody as PyramidBody
from mnv2dense.reuse.torchvision import RenamedFeatures as RenamedFeatures
