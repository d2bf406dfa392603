"""How much boxes come and go from frame to frame, without any truth."""

from __future__ import annotations

from collections import deque
from typing import final

import torch

from mnv2dense.ops.boxes import pairwise_iou
from mnv2dense.types import Detections

# Of boxes that are taken for the same object in another frame.
_SAME = 0.5


@final
class Flicker:
    """The share of boxes that come and go, over the frames of a video that have a frame before and one after.

    A box **comes** for a single frame where neither the frame before nor the one after has a box like it, and **goes**
    for one where both have one and the frame between has none. Alike are boxes of the same class with an IoU of 0.5 or
    more. The share is (came + went) / (boxes + went): 0 of boxes that all stay, 1 of boxes none of which stays.

    It tells nothing of right and wrong, only of steadiness: objects that do appear and vanish count too, and objects
    that move more than a third of their length between two frames look as if they did.

    Attributes:
        boxes: in all frames that have a frame on either side.
        came: of these, how many were there for a single frame.
        went: how many were missing in a single frame.
    """

    def __init__(self) -> None:
        self.boxes = self.came = self.went = 0
        self._frames: deque[Detections] = deque(maxlen=3)

    def add(self, found: Detections) -> None:
        """Take the boxes of the next frame."""
        self._frames.append(found)
        if len(self._frames) < 3:
            return
        before, now, after = self._frames
        self.boxes += len(now)
        self.came += int((~_has_like(now, before) & ~_has_like(now, after)).sum())
        self.went += int((_has_like(before, after) & ~_has_like(before, now)).sum())

    @property
    def share(self) -> float:
        """See above, 0..1; 0 of no boxes."""
        return (self.came + self.went) / max(1, self.boxes + self.went)


def _has_like(boxes: Detections, others: Detections) -> torch.Tensor:
    """Which boxes [N] have one of their class among others in the same place; bool."""
    alike = pairwise_iou(boxes.boxes, others.boxes) >= _SAME
    return (alike & (boxes.labels[:, None] == others.labels)).any(dim=1)
