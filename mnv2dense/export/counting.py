"""What is counted where a file, or its arithmetic, is compared with the model: of which answers, and what they are."""

from __future__ import annotations

COUNTED_SCORE = 0.3
"""Boxes of at least this score have to be found by the other side too.

Lower than :data:`mnv2dense.types.SHOWN_SCORE`: whoever asks to be shown a few boxes more shall be able to rely on them.
"""

COUNTED = {"classification": "top-1", "segmentation": "pixels", "detection": "boxes"}
"""What agreement is a share of, by task."""
