"""Lines of YOLO label files: boxes, outlines, and boxes with key points; what could be either is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mnv2dense.data.datasets import label_values
from mnv2dense.utils.text_files import read_text

Share = tuple[float, float, float, float]
"""x, y, width, height of a box as shares of its image."""

# Labels overshoot the image's edge by rounding or sloppiness; numbers beyond this are pixels, not shares.
_LARGEST_SHARE = 2.0

# Of the lines that may be outlines: if so many read as boxes with key points, they are not taken for outlines.
_SUSPICIOUS_SHARE = 0.75

_EXPECTED = "a box has 4, an outline an even number of 6 or more"


class Line(NamedTuple):
    """One line: its file and number, for messages, the label, and the values after it."""

    file: Path
    number: int
    label: int
    values: list[float]

    def __str__(self) -> str:
        return f"{self.file}, line {self.number}"


def read_lines(file: Path, num_classes: int, keypoints: tuple[int, int] | None) -> list[Line]:
    """The lines of a label file that are not blank; none without a file.

    Args:
        file: the label file.
        num_classes: K.
        keypoints: ``kpt_shape`` of the data set: how many follow a box, of how many values each.

    Raises:
        ValueError: a line is neither a box nor an outline nor, where announced, a box with key points.
    """
    if not file.is_file():
        return []
    lines = []
    for number, text in enumerate(read_text(file).splitlines(), start=1):
        if text.strip():
            try:
                lines.append(_parsed(file, number, text, num_classes, keypoints))
            except ValueError as error:
                raise ValueError(f"{file}, line {number}: {error}; the line is {text.strip()!r:.100}.") from error
    return lines


def boxes_of(lines: Sequence[Line], *, are_outlines: bool, keypoints: tuple[int, int] | None) -> list[Share]:
    """The box of each line of a data set.

    Args:
        lines: all of them: whether they are outlines shows in many, not in one.
        are_outlines: the data set says so (``task: segment``).
        keypoints: as in :func:`read_lines`.

    Raises:
        ValueError: lines could be outlines as well as boxes with key points, or with a confidence and a track's number.
    """
    if not are_outlines and keypoints is None:
        _refuse_doubtful([line for line in lines if len(line.values) > 4])
    return [_of_box(line.values) if len(line.values) == 4 or keypoints else _of_outline(line.values) for line in lines]


def _parsed(file: Path, number: int, text: str, num_classes: int, keypoints: tuple[int, int] | None) -> Line:
    first, *values = (label_values.number(word) for word in text.split())
    if first not in range(num_classes):
        raise ValueError(f"class {first:g} is not among the data set's 0..{num_classes - 1}")
    count = len(values)
    if keypoints is not None:
        points, each = keypoints
        if count not in (4, 4 + points * each):
            raise ValueError(
                f"{count} values after the class; a box has 4, and with the {points} key points of {each} values that "
                f"kpt_shape announces {4 + points * each}"
            )
        values = values[:4]
    if not all(abs(share) <= _LARGEST_SHARE for share in values[:4]):  # NaN compares false
        raise ValueError("values are shares of the image, 0..1; divide pixels by its width and height")
    if count == 5:
        raise ValueError(f"5 values after the class; {_EXPECTED}; a fifth may be a confidence: remove it")
    if keypoints is None and (count < 4 or count % 2):
        more = "; a box with key points needs 'kpt_shape' in data.yaml" if count > 6 else ""
        raise ValueError(f"{count} values after the class; {_EXPECTED}{more}")
    if count == 6 and keypoints is None and abs(values[5]) > _LARGEST_SHARE and values[5].is_integer():
        raise ValueError(
            f"6 values after the class, the last of them {values[5]:g}: a confidence and the number of a track? "
            f"Remove them; {_EXPECTED}"
        )
    if not all(abs(share) <= _LARGEST_SHARE for share in values):
        raise ValueError("values are shares of the image, 0..1; divide pixels by its width and height")
    return Line(file, number, int(first), values)


def _refuse_doubtful(lines: Sequence[Line]) -> None:
    """Outlines differ in their number of corners; key points do not, and lie where key points can."""
    if not lines or len({len(line.values) for line in lines}) > 1:
        return
    readings = [reading for line in lines if (reading := _other_reading(line.values))]
    # Flags of key points are whole numbers in every third place: no outline has them by chance in line after line.
    flagged = [reading for reading in readings if "flag" in reading]
    if flagged or len(readings) >= _SUSPICIOUS_SHARE * len(lines):
        first = next(line for line in lines if _other_reading(line.values))
        raise ValueError(
            f"{first}: its {len(first.values)} values after the class could be an outline as well as "
            f"{(flagged or readings)[0]}. Say which in data.yaml: 'task: segment' for outlines, 'kpt_shape: [points, "
            "values of each]' for key points; or leave the values after the box out."
        )


def _other_reading(values: Sequence[float]) -> str | None:
    """What the values could be besides an outline."""
    x, y, width, height, *rest = values
    if not (width > 0 and height > 0 and abs(x) <= 1 and abs(y) <= 1):
        return None
    if len(rest) == 2 and 0 <= rest[0] <= 1 and rest[1].is_integer() and rest[1] >= 0:
        return "a box with a confidence and the number of a track"
    if len(rest) % 3 == 0 and all(flag in (0, 1, 2) for flag in rest[2::3]):
        return f"a box with {len(rest) // 3} key points, each with a flag whether it is seen"
    points = zip(rest[::2], rest[1::2], strict=True)
    # Key points lie within their box, or a little beyond it; those that are not seen are (0, 0).
    if all((abs(px - x) <= 0.55 * width and abs(py - y) <= 0.55 * height) or px == py == 0 for px, py in points):
        return f"a box with {len(rest) // 2} key points"
    return None


def _of_box(values: Sequence[float]) -> Share:
    x, y, width, height = values
    return x - width / 2, y - height / 2, width, height


def _of_outline(values: Sequence[float]) -> Share:
    xs, ys = values[0::2], values[1::2]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)
