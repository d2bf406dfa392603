"""Where a model looked, as colours over the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mnv2dense.visualization.draw import checked_image
from mnv2dense.visualization.masks import check_opacity

if TYPE_CHECKING:
    import numpy.typing as npt

    from mnv2dense.visualization.draw import Pixels

HEAT_OPACITY = 0.75
"""Of the hottest place; what lies under it still shows."""

_BAND_PIXELS = 2**20


def draw_heat(image: Pixels, heat: npt.NDArray[np.float32], *, opacity: float = HEAT_OPACITY) -> Pixels:
    """An image under the colours of its heat, which are clear where it is 0.

    Args:
        image: uint8 [H, W, 3], RGB; left as it is.
        heat: [H, W], 0..1.
        opacity: where it is 1, 0..1.

    Raises:
        ValueError: not an image, heat of another size, or an opacity outside 0..1.
    """
    import cv2

    check_opacity(opacity)
    if heat.shape != checked_image(image).shape[:2]:
        raise ValueError(f"heat of {list(heat.shape)} pixels for an image of {list(image.shape[:2])}.")
    # Inferno: even steps to the eye, with any colour vision and in grey.
    colors = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1]
    drawn, rows = np.empty(image.shape, np.uint8), max(1, _BAND_PIXELS // image.shape[1])
    for top in range(0, len(image), rows):
        band = heat[top : top + rows]
        weight = opacity * band[..., None]
        color = colors[np.clip(band * 255 + 0.5, 0, 255).astype(np.uint8)]
        drawn[top : top + rows] = image[top : top + rows] * (1 - weight) + color * weight + 0.5
    return drawn
