"""What training minimises."""

from mnv2dense.losses.focal import SigmoidFocalLoss as SigmoidFocalLoss
from mnv2dense.losses.multibox import MultiBoxLoss as MultiBoxLoss
from mnv2dense.losses.pixel_cross_entropy import PixelCrossEntropy as PixelCrossEntropy
