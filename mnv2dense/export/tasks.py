"""What an export makes of each task: which tensors come out, who decides, and what answers are counted by."""

from __future__ import annotations

from typing import NamedTuple

from mnv2dense.runtimes.metadata import Outputs

COUNTED_SCORE = 0.3
"""Boxes of at least this score are counted.

Lower than :data:`mnv2dense.types.SHOWN_SCORE`: whoever asks to be shown a few boxes more shall be able to rely on them.
"""


class ExportTask(NamedTuple):
    """Of one task.

    Attributes:
        outputs: what comes out where the decisions are left to whoever runs the file.
        decided: what comes out of a file that decides itself; None where there is nothing to decide.
        switch: the option that asks for it.
        counted: what agreement is a share of.
    """

    outputs: Outputs
    decided: Outputs | None
    switch: str | None
    counted: str


TASKS = {
    "classification": ExportTask("scores", None, None, "top-1"),
    "detection": ExportTask("boxes", "selected_boxes", "nms", "boxes"),
    "segmentation": ExportTask("logits", "labels", "labels", "pixels"),
}
"""By name of the task."""
