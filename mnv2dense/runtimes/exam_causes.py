"""What the faults that an exam tells mean, and what to do about each."""

from __future__ import annotations

from typing import NamedTuple


class Cause(NamedTuple):
    """Of one fault.

    Attributes:
        said: what went wrong, to follow "likely cause:".
        next_step: a sentence.
    """

    said: str
    next_step: str


_PREPARE = "prepare images as the description's size and resize say (docs/exams.md)"
_EXPORT = "export the file again and let its gate pass"

CAUSES = {
    "channels swapped": Cause(
        "red and blue are swapped (BGR where RGB belongs)", "Give RGB; OpenCV reads BGR, so convert."
    ),
    "channels last": Cause(
        "the bytes of height x width x 3 are taken for 3 x height x width",
        "Transpose the image to channels first before the file.",
    ),
    "pixels of 0..1": Cause(
        "pixels were divided by 255 before the file", "Give uint8 pixels of 0..255; the file normalises inside."
    ),
    "not normalised": Cause("pixels reach the network without normalisation", f"Keep it in the file: {_EXPORT}."),
    "normalised to 0..1 alone": Cause(
        "pixels are divided by 255, but the mean and std of the weights are left out",
        f"Keep the model's own normalisation: {_EXPORT}.",
    ),
    "one scale per tensor": Cause(
        "weights were quantised with one scale per tensor", "Quantise with a scale for each output channel."
    ),
    "other padding": Cause(
        "strided convolutions are padded on the other sides (TensorFlow's SAME for torch's, or the reverse)",
        f"Keep the padding of the model's own config: {_EXPORT}.",
    ),
    "squashed": Cause("the image was stretched to the input's proportions", f"Instead {_PREPARE}."),
    "letterboxed": Cause("the image was padded to the input's proportions", f"Instead {_PREPARE}."),
    "cropped": Cause("only the middle of the image was taken", f"Instead {_PREPARE}."),
    "nearest pixels": Cause("the image was resized without interpolation", f"Resize bilinearly: {_PREPARE}."),
    "corners aligned": Cause(
        "the image was resized with its corner pixels on those of the input", "Resize with pixel centres at halves."
    ),
}
"""Fault -> what it means. A later version's faults are shown by their names."""
