"""Which colour a class of masks is drawn in: the data set's own, or one that everybody can tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from mnv2dense.visualization.draw import class_color
from mnv2dense.visualization.text import luminance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mnv2dense.types import Segmentation
    from mnv2dense.visualization.draw import Color

PaletteChoice = Literal["auto", "data", "safe"]
"""``data``: as the data set colours its masks. ``safe``: colours that hide nothing and stay apart for the
colour-blind, of the first seven classes at least. ``auto``: the data set's, unless one of them is so dark that it hides
the object."""

# Relative luminance (WCAG 2.1). VOC's dark red (128, 0, 0) has 0.046, pure blue, the darkest that still shows, 0.072.
_DARK = 0.06


def check_palette(palette: str) -> None:
    """Raise a ValueError unless it is one of the choices."""
    if palette not in get_args(PaletteChoice):
        raise ValueError(
            f"palette={palette}: give data for the data set's own colours, safe for ones that everybody can tell "
            "apart, or auto for the data set's unless they are too dark."
        )


def mask_color(masks: Segmentation, label: int, *, palette: PaletteChoice = "auto") -> Color:
    """RGB of a class in masks, as drawn over an image; of the default colours black for the background.

    Args:
        masks: for their classes and the data set's colours.
        label: of the class.
        palette: which colours.
    """
    background = masks.class_names[0] == "background"
    own = masks.palette
    if own is not None and (palette == "data" or (palette == "auto" and not _hides(own[background:]))):
        return own[label]
    return (0, 0, 0) if background and label == 0 else class_color(label - background)


def legend_of(masks: Segmentation, labels: set[int], *, palette: PaletteChoice = "auto") -> list[tuple[str, Color]]:
    """Name and colour of these classes, in the order of the classes; the background, which is left clear, has none."""
    names = masks.class_names
    return [
        (names[label], mask_color(masks, label, palette=palette))
        for label in sorted(labels)
        if label < len(names) and names[label] != "background"
    ]


def _hides(colors: Sequence[Color]) -> bool:
    return any(luminance(color) < _DARK for color in colors)
