"""What training minimises."""

from mnv2dense.losses.cross_entropy import CrossEntropyLoss
from mnv2dense.losses.dice import DiceLoss
from mnv2dense.losses.focal import SigmoidFocalLoss
from mnv2dense.losses.joint import JointLoss
from mnv2dense.losses.loss_sum import LossSum
from mnv2dense.losses.lovasz import LovaszSoftmax
from mnv2dense.losses.multibox import MultiBoxLoss
from mnv2dense.losses.ohem import OhemCrossEntropy
from mnv2dense.losses.pixel_cross_entropy import PixelCrossEntropy
from mnv2dense.losses.task_aligned import TaskAlignedLoss

__all__ = [
    "CrossEntropyLoss",
    "DiceLoss",
    "JointLoss",
    "LossSum",
    "LovaszSoftmax",
    "MultiBoxLoss",
    "OhemCrossEntropy",
    "PixelCrossEntropy",
    "SigmoidFocalLoss",
    "TaskAlignedLoss",
]
