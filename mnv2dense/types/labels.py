"""Numbers with a meaning of their own: labels that are no class, and the score from which on a box is shown."""

from __future__ import annotations

PADDING_LABEL = -1
"""Label of a padded row of ``Batch.boxes``: there is no box."""

IGNORE_LABEL = -2
"""Label of a region to ignore (a COCO crowd, a difficult VOC object): neither object nor background."""

IGNORE_INDEX = 255
"""Mask value of a pixel that counts neither in a loss nor in a metric."""

SHOWN_SCORE = 0.4
"""The lowest score of a box that people are shown unless they ask for another: in predictions, in a run's samples and
report, in its worst and best images. A data set's scores take all boxes, and so does a predictor without a threshold.
"""
