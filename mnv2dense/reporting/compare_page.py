"""A comparison as a page that stands alone: compare.html."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mnv2dense.reporting.comparison import Comparison, Difference, Row
from mnv2dense.reporting.inline import data_uri, jpeg_uri
from mnv2dense.reporting.page_templates import page_templates
from mnv2dense.utils.files import atomic_write

if TYPE_CHECKING:
    from mnv2dense.visualization.draw import Pixels

_IMAGE_WIDTH, _IMAGE_BYTES = 1400, 200_000

_MOST_OPEN_CLASSES = 30


class Picture(NamedTuple):
    """An image on which sides differ.

    Attributes:
        name: of its file.
        scores: (label, score of the image) of each side.
        drawn: uint8 [H, W, 3], the truth and each side's answer.
    """

    name: str
    scores: tuple[tuple[str, float], ...]
    drawn: Pixels


def write_compare_page(
    folder: Path,
    comparison: Comparison,
    *,
    pictures: Sequence[tuple[str, Iterable[Picture]]],
    legend: Iterable[tuple[str, tuple[int, int, int]]] = (),
    curves: Path | None = None,
) -> None:
    """Write compare.html.

    Args:
        folder: that has the other files.
        comparison: what it says.
        pictures: title and pictures of each group.
        legend: name and RGB of the classes that masks show.
        curves: a PNG of the trainings' curves.
    """
    templates = page_templates(Path(__file__).parent / "templates")
    templates.filters |= {"score": _score, "signed": _signed}
    content = {
        "it": comparison,
        "tables": [table for table in _tables(comparison) if table[2]],
        "legend": [(name, "#{:02x}{:02x}{:02x}".format(*color)) for name, color in legend],
        "curves": data_uri(curves.read_bytes(), "png") if curves is not None else None,
        "pictures": [
            (
                title,
                [
                    (one.name, one.scores, jpeg_uri(one.drawn, width=_IMAGE_WIDTH, most_bytes=_IMAGE_BYTES))
                    for one in group
                ],
            )
            for title, group in pictures
        ],
        "most_open": _MOST_OPEN_CLASSES,
    }
    with atomic_write(folder / "compare.html") as file:
        file.write(templates.get_template("compare.html").render(content).encode(errors="backslashreplace"))


class _Line(NamedTuple):
    """A row of the page, and where its intervals lie on its table's scale, in percent; None without a difference."""

    row: Row
    bars: tuple[tuple[float, float, float] | None, ...]


def _tables(comparison: Comparison) -> list[tuple[str, float, list[_Line]]]:
    """Heading, the difference at the right end of the scale, and lines of each table."""
    return [
        (heading, scale, [_Line(row, tuple(_bar(each, scale) for each in row.differences)) for row in rows])
        for heading, rows in (("Scores", comparison.rows), ("Classes", comparison.classes))
        for scale in [_scale(rows)]
    ]


def _scale(rows: Sequence[Row]) -> float:
    """The furthest end of an interval."""
    ends = [abs(end) for row in rows for each in row.differences if each is not None for end in (each.low, each.high)]
    return max((end for end in ends if end == end), default=0.0) or 1.0


def _bar(difference: Difference | None, scale: float) -> tuple[float, float, float] | None:
    """Left end, right end and value, 0 at the scale's left end, 50 at no difference, 100 at its right end."""
    if difference is None or not difference.has_interval:
        return None
    low, high, value = (50 + 50 * each / scale for each in (difference.low, difference.high, difference.value))
    return low, high, value


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _signed(value: float) -> str:
    return f"{value:+.3f}"
