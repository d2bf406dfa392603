"""What training minimises."""

from mnv2dense.losses.focal import SigmoidFocalLoss as SigmoidFocalLoss
from mnv2dense.losses.multibox import MultiBoxLoss as MultiBoxLoss
