"""What predictions can be written as."""

from __future__ import annotations

IMAGE_OUTPUTS = ("drawn", "labels", "json", "csv")
"""What can be written; all of it of images, unless asked otherwise."""
VIDEO_OUTPUTS = ("drawn", "json", "csv")
"""Of a video: a label image for each of thousands of frames has to be asked for."""
