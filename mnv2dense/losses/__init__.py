"""What training minimises."""

from mnv2dense.losses.dice import DiceLoss as DiceLoss
from mnv2dense.losses.focal import SigmoidFocalLoss as SigmoidFocalLoss
from mnv2dense.losses.loss_sum import LossSum as LossSum
from mnv2dense.losses.lovasz import LovaszSoftmax as LovaszSoftmax
from mnv2dense.losses.multibox import MultiBoxLoss as MultiBoxLoss
from mnv2dense.losses.ohem import OhemCrossEntropy as OhemCrossEntropy
from mnv2dense.losses.pixel_cross_entropy import PixelCrossEntropy as PixelCrossEntropy
